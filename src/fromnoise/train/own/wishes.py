"""What may be asked for when one's own pictures are learned."""

from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal, get_args

from fromnoise.errors import RequestError

Kind = Literal["unet", "lora", "embedding"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
LAYERS: Final = ("attention", "transformer", "all")
FORMATS: Final = {  # what each kind may be written as, the usual one first
    "unet": ("auto", "ldm", "diffusers", "ours"),
    "lora": ("kohya", "peft"),
    "embedding": ("kohya", "diffusers"),
}
LEAST: Final = {
    "steps": 1,
    "batch": 1,
    "rank": 1,
    "vectors": 1,
    "prior": 0,
    "size": 8,
    "keep": 0,
    "held_out": 0,
    "sample_every": 1,
}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How to learn from one's own pictures. None is left to what suits the model.

    Raises: RequestError that names every wrong field
    """

    kind: Kind
    steps: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int = 0
    size: int | None = None  # pixels: the side of the square that buckets are made around
    # pictures
    caption: str | None = None  # for those without
    file_names: bool = False  # as captions, for those without
    dropout: float = 0.1  # share of the captions left empty
    shuffle: bool = False  # put tags between commas in another order ...
    keep: int = 0  # ... but so many of the first
    held_out: int | None = None
    prior: int = 0  # pictures of the model's own that are learned beside, so that it forgets less
    prior_prompts: tuple[str, ...] = ()
    # learning
    min_snr: float | None = None  # not of flow: errors count no more than at this ratio; None: MIN_SNR
    ema: float | None = 0.1  # relative length of the average that is written; None: the last weights
    low_memory: bool = False  # gradient checkpointing
    samples: tuple[str, ...] = ()  # prompts of the sheets; else captions
    sample_every: int | None = None
    from_scratch: bool = False
    rank: int = 16
    alpha: float | None = None
    layers: str = "attention"
    text: bool = False  # the text encoders learn too
    word: str = ""
    init: str = ""  # what the word is like, in words that the model knows
    vectors: int = 4
    format: str = ""

    def __post_init__(self) -> None:
        problems: dict[str, str] = {}
        for name, low in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < low:
                problems[name] = f"{value} is less than {low}"
        if self.layers not in LAYERS:
            problems["layers"] = f"{self.layers!r} is unknown; choose from {', '.join(LAYERS)}"
        if self.written_as not in FORMATS[self.kind]:
            problems["format"] = (
                f"{self.format!r} is none of a {self.kind}'s; choose from {', '.join(FORMATS[self.kind])}"
            )
        if self.kind == "embedding" and not self.word:
            problems["word"] = "an embedding needs the word that is to be learned"
        if self.prior_prompts and not self.prior:
            problems["prior_prompts"] = "none of them is drawn; say how many pictures: --prior N"
        if not all(prompt.strip() for prompt in self.prior_prompts):
            problems["prior_prompts"] = "one of them says nothing, and would be no caption"
        if not 0 <= self.dropout <= 1:  # as NaN is
            problems["dropout"] = f"{self.dropout:g} is outside 0..1"
        if self.min_snr is not None and not self.min_snr > 0:
            problems["min_snr"] = f"{self.min_snr:g} is not above 0"
        if self.alpha is not None and not 0 < self.alpha < inf:
            problems["alpha"] = f"{self.alpha:g} is not a number above 0"
        if self.lr is not None and not 0 < self.lr <= 1:
            problems["lr"] = f"{self.lr:g} is not above 0 and at most 1"
        if problems:
            raise RequestError(problems)

    @property
    def strength(self) -> float:
        """A LoRA's alpha: its rank, unless another is given."""
        return self.rank if self.alpha is None else self.alpha

    @property
    def settings(self) -> dict[str, Any]:
        """What a resume must find again."""
        match self.kind:
            case "unet":
                return {"from_scratch": self.from_scratch}
            case "lora":
                return {"rank": self.rank, "alpha": self.strength, "layers": self.layers, "text": self.text}
            case "embedding":
                return {"word": self.word, "vectors": self.vectors, "init": self.init}

    @property
    def written_as(self) -> str:
        """The format of the result."""
        return self.format or FORMATS[self.kind][0]

"""Prompts to what the U-Net reads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final

import torch
from torch import Tensor

from fromnoise.errors import RequestError, SpecError
from fromnoise.nets.blocks import time_features
from fromnoise.nets.clip import TextTransformer
from fromnoise.noise.denoiser import Conditioning
from fromnoise.request import FilledRequest
from fromnoise.specs import ModelSpec
from fromnoise.text.taught import TaughtTokenizer
from fromnoise.text.tokenizer import Tokenizer

Stranger = tuple[str, str | None]
"""A word that the model never saw in training, and the nearest one that it did."""

# Source: Podell et al. 2023, sec. 2.2 and 2.5 (arXiv:2307.01952); the refiner's as in its published code
NUMBER_WIDTH: Final = 256  # features of each number that SDXL is told about the picture
BASE_NUMBERS, REFINER_NUMBERS = 6, 5
AESTHETIC: Final = (6.0, 2.5)  # out of 10: what the prompt's picture is worth, and the negative prompt's


@dataclass(frozen=True, slots=True)
class Facts:
    """What SDXL is told about the picture beside the text.

    Units: pixels; sizes are (width, height), the crop (left, top), as everywhere here
    """

    size: tuple[int, int]  # that is drawn
    original_size: tuple[int, int]  # of a picture in training, before it was scaled: small ones are blurred
    crop: tuple[int, int] = (0, 0)  # what was cut off before the picture begins
    aesthetic: tuple[float, float] = AESTHETIC

    @classmethod
    def of(cls, request: FilledRequest) -> "Facts":
        """What a request says, and where it says nothing: a whole picture of its very size."""
        size = request.width, request.height
        return cls(
            size, request.original_size or size, request.crop or (0, 0), request.aesthetic or AESTHETIC
        )

    def numbers(self, count: int, *, negative: bool) -> list[float]:
        """The `count` numbers in the order of training: heights before widths, tops before lefts."""
        (width, height), (left, top) = self.original_size, self.crop
        seen: list[float] = [height, width, top, left]
        return [*seen, self.aesthetic[negative]] if count == REFINER_NUMBERS else [*seen, *self.size[::-1]]


@dataclass(frozen=True, slots=True)
class Reading:
    """The prompt and the negative prompt as the U-Net sees them, one row each, and what was lost."""

    cond: Conditioning
    uncond: Conditioning
    tokens: int  # of the prompt, without start and end
    window: int  # the most there is room for
    cut: str
    negative_cut: str


@dataclass(frozen=True)
class Reader:
    """A model's tokenizers and text encoders, side by side."""

    tokenizers: tuple[Tokenizer, ...]
    encoders: tuple[TextTransformer, ...]
    gives_pooled: bool
    numbers: int = 0  # about the picture, behind the pooled vector
    taught_words: Mapping[str, Sequence[Tensor]] = field(
        default_factory=dict[str, Sequence[Tensor]]
    )  # beside its vocabulary: for each encoder the word's vectors

    @classmethod
    def of(
        cls, spec: ModelSpec, tokenizers: Sequence[Tokenizer], encoders: Sequence[TextTransformer]
    ) -> "Reader":
        """Raises: SpecError if this U-Net cannot read what these encoders write."""
        if len(tokenizers) != len(spec.texts):
            raise SpecError(f"{len(spec.texts)} text encoders need as many tokenizers, not {len(tokenizers)}")
        for tokenizer, text in zip(tokenizers, spec.texts, strict=True):
            size = max([tokenizer.size, *(number + 1 for number in tokenizer.added.values())])
            if size > text.vocab or tokenizer.end != text.end:
                problem = f"a tokenizer of {size} ids that ends texts with {tokenizer.end}"
                raise SpecError(
                    f"{problem} does not fit a text encoder of {text.vocab} that looks for {text.end}"
                )
        width, wanted = sum(text.width for text in spec.texts), spec.unet.context_width
        if width != wanted:
            raise SpecError(f"the text encoders give {width} numbers a token, the U-Net reads {wanted}")
        reads_pooled = spec.unet.pooled_width is not None
        reading = tuple(TaughtTokenizer(each, {}) if each.added else each for each in tokenizers)
        return cls(reading, tuple(encoders), reads_pooled, _numbers(spec))

    def __call__(
        self, prompt: str, negative: str, facts: Facts | None = None, *, zero_negative: bool = False
    ) -> Reading:
        """Read both in one batch, always: a picture must not depend on how its prompt was batched.

        `zero_negative`: an empty negative prompt is all zeros, as diffusers has it for SDXL
        Raises: RequestError if the model is told about the picture, and there are no facts
        """
        windows = [
            tokenizer([negative, prompt], context=encoder.spec.context, pad=encoder.spec.pad)
            for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True)
        ]
        states = [
            encoder(torch.tensor(window.ids, device=encoder.tokens.weight.device), learnt)
            for encoder, window, learnt in zip(self.encoders, windows, self.beyond, strict=True)
        ]
        context: Tensor = torch.cat([state.context for state in states], dim=-1)
        pooled = states[-1].pooled
        if zero_negative and not negative:
            silence = torch.tensor([0, 1], device=context.device)[:, None]
            context, pooled = context * silence[:, None], pooled * silence
        if self.numbers:
            pooled = torch.cat([pooled, self._features(facts).to(pooled)], dim=-1)
        uncond, cond = (
            Conditioning(context[row : row + 1], pooled[row : row + 1] if self.gives_pooled else None)
            for row in range(2)
        )
        tokenizer, window = self.tokenizers[0], windows[0]
        room = len(window.ids[0]) - 2  # beside the start and the end
        return Reading(
            cond=cond,
            uncond=uncond,
            tokens=min(len(tokenizer.encode(prompt)), room),
            window=room,
            cut=tokenizer.decode(window.cut[1]),
            negative_cut=tokenizer.decode(window.cut[0]),
        )

    @property
    def beyond(self) -> tuple[Tensor | None, ...]:
        """For each encoder, the vectors of all words that it was taught beside its vocabulary, in a row."""
        if not self.taught_words:
            return (None,) * len(self.encoders)
        words = self.taught_words.values()
        return tuple(
            torch.cat([vectors[place].to(encoder.tokens.weight) for vectors in words])
            for place, encoder in enumerate(self.encoders)
        )

    def taught(self, words: Mapping[str, Sequence[Tensor]]) -> "Reader":
        """The same, and these words beside those it knows (textual inversion); their vectors may learn.

        Shapes: for each encoder (n, width)
        Raises: RequestError for a name that cannot be a word
        """
        words = {**self.taught_words, **words}
        counts = {word: len(vectors[0]) for word, vectors in words.items()}
        tokenizers = tuple(
            TaughtTokenizer(tokenizer, counts, encoder.spec.vocab)
            for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True)
        )
        return replace(self, tokenizers=tokenizers, taught_words=words)

    def said(self, *texts: str) -> set[str]:
        """Those of the words it was taught that these texts hold."""
        first = self.tokenizers[0]
        if not isinstance(first, TaughtTokenizer):
            return set()
        found = {word for text in texts for word in first.says(text)}
        return {word for word in self.taught_words if found.issuperset(first.says(word))}

    @property
    def reads(self) -> set[str]:
        """Those fields of a request beside the prompt that are of use."""
        read = {"negative"}
        if self.numbers:
            read |= {"original_size", "crop"}
        return read | {"aesthetic"} if self.numbers == REFINER_NUMBERS else read

    def _features(self, facts: Facts | None) -> Tensor:
        """Of the negative prompt's numbers, then of the prompt's: one row each."""
        if facts is None:
            problem = "this model is told the size of the picture beside the prompt"
            raise RequestError({"facts": problem}, hint="pass Facts, as Pipeline does")
        numbers = torch.tensor([facts.numbers(self.numbers, negative=negative) for negative in (True, False)])
        return time_features(numbers.flatten(), NUMBER_WIDTH).reshape(2, -1)

    def strangers(
        self, prompt: str, known: Sequence[str], learnt: Collection[str] = ()
    ) -> tuple[Stranger, ...]:
        """The words of a prompt that are not known, each once; () where it is not known what is known."""
        words = dict.fromkeys(word for word in self.tokenizers[0].words(prompt) if word.isalpha())
        unseen = [word for word in words if known and word not in known and word not in learnt]
        return tuple((word, next(iter(get_close_matches(word, known, n=1)), None)) for word in unseen)


def _numbers(spec: ModelSpec) -> int:
    """How many numbers about the picture the U-Net reads behind the pooled text vector.  Raises: SpecError"""
    pooled, wanted = spec.texts[-1].projection or spec.texts[-1].width, spec.unet.pooled_width
    if wanted in (None, pooled):
        return 0
    count, rest = divmod(wanted - pooled, NUMBER_WIDTH)
    if rest or count not in (REFINER_NUMBERS, BASE_NUMBERS):
        problem = f"the U-Net reads a vector of {wanted} beside the tokens, the text encoder gives {pooled}"
        raise SpecError(
            problem, hint=f"{BASE_NUMBERS} or {REFINER_NUMBERS} numbers of {NUMBER_WIDTH} may follow it"
        )
    return count

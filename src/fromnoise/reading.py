"""Prompts to what the U-Net reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from fromnoise.errors import SpecError
from fromnoise.nets.clip import TextTransformer
from fromnoise.noise.denoiser import Conditioning
from fromnoise.specs import ModelSpec
from fromnoise.text.tokenizer import Tokenizer

Stranger = tuple[str, str | None]
"""A word that the model never saw in training, and the nearest one that it did."""


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

    @classmethod
    def of(
        cls, spec: ModelSpec, tokenizers: Sequence[Tokenizer], encoders: Sequence[TextTransformer]
    ) -> "Reader":
        """Raises: SpecError if this U-Net cannot read what these encoders write."""
        if len(tokenizers) != len(spec.texts):
            raise SpecError(f"{len(spec.texts)} text encoders need as many tokenizers, not {len(tokenizers)}")
        for tokenizer, text in zip(tokenizers, spec.texts, strict=True):
            if (tokenizer.size, tokenizer.end) != (text.vocab, text.end):
                problem = f"a tokenizer of {tokenizer.size} ids that ends texts with {tokenizer.end}"
                raise SpecError(
                    f"{problem} does not fit a text encoder of {text.vocab} that looks for {text.end}"
                )
        width, wanted = sum(text.width for text in spec.texts), spec.unet.context_width
        if width != wanted:
            raise SpecError(f"the text encoders give {width} numbers a token, the U-Net reads {wanted}")
        pooled, wanted = spec.texts[-1].projection or spec.texts[-1].width, spec.unet.pooled_width
        if wanted not in (None, pooled):
            problem = (
                f"the U-Net reads a vector of {wanted} beside the tokens, the text encoder gives {pooled}"
            )
            raise SpecError(problem, hint="SDXL's picture sizes are not supported yet")
        return cls(tuple(tokenizers), tuple(encoders), gives_pooled=wanted is not None)

    def __call__(self, prompt: str, negative: str) -> Reading:
        """Read both in one batch, always: a picture must not depend on how its prompt was batched."""
        windows = [
            tokenizer([negative, prompt], context=encoder.spec.context)
            for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True)
        ]
        states = [
            encoder(torch.tensor(window.ids, device=encoder.tokens.weight.device))
            for encoder, window in zip(self.encoders, windows, strict=True)
        ]
        context: Tensor = torch.cat([state.context for state in states], dim=-1)
        uncond, cond = (
            Conditioning(
                context[row : row + 1], states[-1].pooled[row : row + 1] if self.gives_pooled else None
            )
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

    def strangers(self, prompt: str, known: Sequence[str]) -> tuple[Stranger, ...]:
        """The words of a prompt that are not known, each once; () where it is not known what is known."""
        words = dict.fromkeys(word for word in self.tokenizers[0].words(prompt) if word.isalpha())
        unseen = [word for word in words if known and word not in known]
        return tuple((word, next(iter(get_close_matches(word, known, n=1)), None)) for word in unseen)

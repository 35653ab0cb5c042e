"""What text encoders that learn say of captions: read anew at every step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fromnoise.nets.blocks import time_features
from fromnoise.nets.clip import TextStates
from fromnoise.noise.denoiser import Conditioning
from fromnoise.reading import NUMBER_WIDTH, Facts, Reader


class LiveText:
    """Captions to conditioning, with gradients for whatever learns in the encoders or their words."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __call__(self, captions: Sequence[str], facts: Sequence[Facts]) -> Conditioning:
        """One row a picture."""
        reader = self.reader
        states: list[TextStates] = []
        for tokenizer, encoder, beyond in zip(reader.tokenizers, reader.encoders, reader.beyond, strict=True):
            window = tokenizer(captions, context=encoder.spec.context, pad=encoder.spec.pad)
            states.append(encoder(torch.tensor(window.ids), beyond))
        context = torch.cat([state.context for state in states], dim=-1)
        if not reader.gives_pooled:
            return Conditioning(context)
        pooled = states[-1].pooled
        if reader.numbers:
            pooled = torch.cat([pooled, self._features(facts).to(pooled)], dim=-1)
        return Conditioning(context, pooled)

    def _features(self, facts: Sequence[Facts]) -> Tensor:
        numbers = torch.tensor([fact.numbers(self.reader.numbers, negative=False) for fact in facts])
        return time_features(numbers.flatten(), NUMBER_WIDTH).reshape(len(facts), -1)

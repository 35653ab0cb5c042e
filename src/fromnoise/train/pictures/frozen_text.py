"""What text encoders that are not trained say of captions: each is read once."""

from collections.abc import Sequence

import torch

from fromnoise.noise.denoiser import Conditioning
from fromnoise.reading import Facts, Reader

KEPT = 1 << 30  # bytes


class FrozenText:
    """Captions to conditioning, kept as long as there is room.

    A caption is read alone, as when a picture is drawn, so what it becomes does not depend on its batch.
    """

    def __init__(self, reader: Reader, room: int = KEPT) -> None:
        """`room`: bytes; beyond them the oldest are forgotten."""
        self.reader, self.room, self.taken = reader, room, 0
        self._known: dict[tuple[str, Facts | None], Conditioning] = {}

    def __call__(self, captions: Sequence[str], facts: Sequence[Facts]) -> Conditioning:
        """One row a picture."""
        rows = [self._row(caption, fact) for caption, fact in zip(captions, facts, strict=True)]
        pooled = [row.pooled for row in rows if row.pooled is not None]
        return Conditioning(torch.cat([row.context for row in rows]), torch.cat(pooled) if pooled else None)

    @torch.no_grad()
    def _row(self, caption: str, facts: Facts | None) -> Conditioning:
        key = caption, facts if self.reader.numbers else None
        row = self._known.pop(key, None)
        if row is None:
            read = self.reader(caption, "", facts).cond
            row = Conditioning(read.context.clone(), None if read.pooled is None else read.pooled.clone())
            self.taken += _size(row)
        self._known[key] = row  # as the newest
        while self.taken > self.room and len(self._known) > 1:
            self.taken -= _size(self._known.pop(next(iter(self._known))))
        return row


def _size(row: Conditioning) -> int:
    return sum(tensor.nbytes for tensor in (row.context, row.pooled) if tensor is not None)

"""Every picture, encoded once: which latents could have produced it, kept in the run's folder.

Moments are kept, not latents, so that each step may draw other ones. A row is found again by what it was
made of (the file's bytes, the bucket, the seed of the crop, the page, the autoencoder), so a picture that
changed is encoded again, and nothing else is.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Final, cast

import torch
from torch import Tensor

from fromnoise.durable import make_folder, require_room
from fromnoise.errors import NonFiniteError, WeightsError
from fromnoise.images.pixels import to_pixels
from fromnoise.nets.encoder import Encoder, LatentGaussian
from fromnoise.train.lock import only_one_in
from fromnoise.train.pictures.buckets import Buckets, box_in
from fromnoise.train.pictures.decoding import Box, cut, decode, read_bytes
from fromnoise.train.pictures.examples import Example, Size, Skip, Unfit
from fromnoise.train.pool import shard_path, shards_in
from fromnoise.train.state import digest, generator, read_checkpoint, write_checkpoint
from fromnoise.train.tensorfile import open_tensors
from fromnoise.weights.wording import shown

MOMENTS: Final = "moments"  # the folder's name in a run
SHARD: Final = 256  # pictures, ...
PATIENCE: Final = 180.0  # ... or as many as so many seconds bring
CROP: Final = 14  # what the generators are for
ENCODER: Final = "encoder"  # in a shard's facts
VERSION: Final = 1  # of how a picture becomes moments; another one encodes everything again
PAGE: Final = "white"


class LatentCache:
    """The moments of a training's pictures. Pictures that cannot be decoded end up in `skipped`."""

    def __init__(
        self, folder: Path, encoder: Encoder, buckets: Buckets, *, seed: int = 0, page: str = PAGE
    ) -> None:
        """Read what is there.  `page`: what shows where a picture is transparent  Raises: StorageError"""
        self.folder, self.encoder, self.buckets, self.seed, self.page = folder, encoder, buckets, seed, page
        self.mark = digest(encoder.state_dict())
        self.skipped: list[Skip] = []
        self.notes: list[str] = []
        self.encoded = 0  # in this session
        self._rows: dict[str, Tensor] = {}
        self._shards: dict[Path, set[str]] = {}  # the rows in each
        self._key_of: dict[str, str] = {}
        self._box_of: dict[str, Box] = {}
        make_folder(folder)
        for path in shards_in(folder):
            self._take_up(path)

    def _take_up(self, path: Path) -> None:
        self._shards[path] = set()
        try:
            found = read_checkpoint(path)
        except WeightsError as error:
            self.notes.append(f"{error.message}; its pictures are encoded again")
            return
        if found.facts.get(ENCODER) == self.mark:
            self._rows |= found.tensors
            self._shards[path] = set(found.tensors)
        else:
            self.notes.append(f"{path} was made by another autoencoder; its pictures are encoded again")

    @torch.no_grad()
    def fill(self, examples: Iterable[Example]) -> Iterator[int]:
        """Encode what is new, one picture at a time, yielding how many are done; stopping keeps them.

        Alone, because the size of a batch changes how sums are rounded, and a resume must find the same.
        Raises: StorageError if the disk is full, or another process encodes into the folder;
                NonFiniteError if the autoencoder overflows
        """
        with only_one_in(self.folder):
            yield from self._fill(list(examples))

    def _fill(self, examples: list[Example]) -> Iterator[int]:
        self._require_room(examples)
        fresh: dict[str, Tensor] = {}
        written = monotonic()
        try:
            for done, example in enumerate(examples, start=1):
                self._add(example, fresh)
                if len(fresh) == SHARD or (fresh and monotonic() - written > PATIENCE):
                    full, fresh = fresh, {}
                    self._write(full)
                    written = monotonic()
                yield done
        finally:
            if fresh:
                self._write(fresh)
        self._sweep()

    def _add(self, example: Example, fresh: dict[str, Tensor]) -> None:
        bucket = self.buckets.nearest(example.size)
        try:
            data = read_bytes(example.place)
            content = sha256(data).hexdigest()
            key, at = self._key(content, bucket), self._corner(content)
            if key not in self._rows:
                image = decode(data)
                picture = cut(image, box_in(image.size, bucket, at), bucket, self.page)
                fresh[key] = self._rows[key] = self._encode(to_pixels(picture), example.name)
                self.encoded += 1
        except Unfit as problem:
            self.skipped.append(problem.skip(example.name))
        else:
            self._key_of[example.name] = key
            self._box_of[example.name] = box_in(example.size, bucket, at)

    def _key(self, content: str, bucket: Size) -> str:
        made_of = [VERSION, content, bucket, self.seed, self.page, self.mark]
        return sha256(json.dumps(made_of).encode()).hexdigest()

    def _corner(self, content: str) -> tuple[float, float]:
        """Where the crop lies; a copy of a picture is cropped alike."""
        chance = generator(self.seed, CROP, int(content[:16], 16))
        across, down = cast(list[float], torch.rand(2, generator=chance).tolist())
        return across, down

    def _encode(self, pixels: Tensor, name: str) -> Tensor:
        weight = next(self.encoder.parameters())
        latent: LatentGaussian = self.encoder(pixels.to(weight))
        moments = torch.cat([latent.mean, latent.log_variance], dim=1)[0].half().cpu()
        if not moments.isfinite().all():
            problem = f"the autoencoder's answer to {shown(name)} is not finite"
            raise NonFiniteError(problem, hint="use float32")
        return moments

    def _write(self, rows: dict[str, Tensor]) -> None:
        last = max((int(path.stem.rpartition("-")[2]) for path in self._shards), default=-1)
        path = shard_path(self.folder, last + 1)
        write_checkpoint(path, rows, {ENCODER: self.mark})
        self._shards[path] = set(rows)
        with open_tensors(path) as file:  # from now on mapped: the memory is free again
            self._rows |= {key: file.get_tensor(key) for key in rows}

    def _sweep(self) -> None:
        """Delete shards of which nothing is used any more."""
        used = set(self._key_of.values())
        for path in [path for path, keys in self._shards.items() if not keys & used]:
            with suppress(OSError):  # it only takes room
                path.unlink()
            del self._shards[path]

    def _require_room(self, examples: list[Example]) -> None:
        spec = self.encoder.spec
        latents = max(width * height for width, height in self.buckets.sizes) // spec.factor**2
        row = latents * 2 * spec.latent_channels * torch.half.itemsize
        require_room(self.folder, max(0, len(examples) - len(self._rows)) * row, "the encoded pictures")

    def __contains__(self, example: Example) -> bool:
        return example.name in self._key_of

    def gaussian(self, example: Example) -> LatentGaussian:
        """Which latents could have produced a picture: one row, in the autoencoder's units."""
        mean, log_variance = self._rows[self._key_of[example.name]].float()[None].chunk(2, dim=1)
        return LatentGaussian(mean, log_variance)

    def key(self, example: Example) -> str:
        """What a picture's row was made of: its bytes, the bucket, the crop, the page, the autoencoder."""
        return self._key_of[example.name]

    def bucket(self, example: Example) -> Size:
        """The size that a picture was brought to."""
        return self.buckets.nearest(example.size)

    def box(self, example: Example) -> Box:
        """The part of a picture that was encoded, in its own pixels."""
        return self._box_of[example.name]

"""The oracle at work: its file, and pictures to what was seen in them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import log
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fromnoise.durable import replacing
from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.nets.oracle import Oracle
from fromnoise.specs import OracleSpec
from fromnoise.weights.model_loader import FOLDER, REINSTALL, find_device
from fromnoise.weights.native import CHECKER, HEADER
from fromnoise.world.seeing import Seen, sightings
from fromnoise.world.vocabulary import COLOURS, SETTINGS, STYLES, TEXTURES, THINGS, TIMES, WEATHERS
from fromnoise.world.worlds import SMALL, WORLDS, World

ORACLE_FILE: Final = FOLDER / "oracle.safetensors"
TRAIN_ONE: Final = "train one (fromnoise train oracle RUN, then assemble RUN) and name it: --oracle FILE"
FORMAT: Final = 1
STRIDE: Final = 16  # the oracle's coarsest pixel
CLOSER: Final = 2  # times larger: how a picture is looked at again, for gaps and things a few pixels wide
LENGTH: Final = 8  # bytes at the start of a safetensors file that give the length of its header

# Both were tuned on true renders alone, see docs/score.md.
FIRST: Final = 1.2  # how much more the first look counts: what it is sure of stays so
# In training places with nothing counted 0.3 times, so that they would not drown the things; this takes that
# back. Source: the prior correction of Saerens et al. 2002 (Neural Comput. 14, 21)
NOTHING: Final = -log(0.3)

Words = Mapping[str, tuple[str, ...]]  # the classes of each head, in their order

# Every word that can be drawn, by head: the numbers of label maps.
KNOWN: Final[Words] = {
    "kinds": tuple(THINGS),
    "colours": COLOURS,
    "settings": SETTINGS,
    "times": TIMES,
    "weathers": WEATHERS,
    "styles": STYLES,
    "textures": TEXTURES,
}
MAPS: Final = ("kinds", "colours", "textures")  # heads whose class 0 is "nothing"
LOOKS: Final = {
    "weathers": "weather",
    "styles": "style",
    "textures": "pattern",
}  # not every oracle tells them


def words_of(world: World) -> Words:
    """The classes of an oracle that was trained on scenes of a world."""
    looks = {"weathers": WEATHERS, "styles": STYLES, "textures": world.textures}
    named = {
        "kinds": world.things,
        "colours": world.colours,
        "settings": world.settings,
        "times": world.times,
    }
    return named | (looks if world.has_looks else {})


@dataclass(frozen=True, slots=True)
class OracleReader:
    """Looks at pictures with an oracle, twice: as they are, and closer; what it believes is a mean of both.

    `words` names its classes, `digest` is the SHA-256 of its file
    Shapes: pixels (B, 3, H, W) in [-1, 1], H and W multiples of 16 -> one Seen for each
    Raises: RequestError for another size
    """

    oracle: Oracle
    batch: int = 32
    words: Words = field(default_factory=lambda: words_of(SMALL))
    digest: str = ""

    @property
    def blind(self) -> frozenset[str]:
        """The parts of a text that it cannot judge."""
        return frozenset(part for head, part in LOOKS.items() if head not in self.words)

    @property
    def world(self) -> World:
        """The richest world whose words it knows.  Raises: WeightsError if there is none"""
        for world in reversed(tuple(WORLDS.values())):
            if self.knows(world):
                return world
        raise WeightsError("this checker knows no world's words whole", hint="fromnoise train oracle")

    def knows(self, world: World) -> bool:
        """Does it tell all things, colours, settings and times of a world?"""
        named = {head: listed for head, listed in words_of(world).items() if head not in LOOKS}
        return all({*listed} <= {*self.words[head]} for head, listed in named.items())

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> list[Seen]:
        """What each picture shows."""
        return [seen for part in self._parts(pixels) for seen in self._read(part)]

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """How pictures look to the oracle: its feature maps, averaged.  Shapes: (B, 3, H, W) -> (B, D)"""
        maps = (self.oracle.features(part) for part in self._parts(pixels))
        return torch.cat([torch.cat([f.mean(dim=(2, 3)) for f in several], dim=1).cpu() for several in maps])

    def _parts(self, pixels: Tensor) -> Iterator[Tensor]:
        height, width = pixels.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise RequestError({"size": f"{width}x{height} is not in multiples of {STRIDE}"})
        device = next(self.oracle.parameters()).device
        for at in range(0, len(pixels), self.batch):
            yield pixels[at : at + self.batch].to(device, torch.float32)

    def _read(self, pixels: Tensor) -> list[Seen]:
        sight = self.oracle(pixels)
        larger = F.interpolate(pixels, scale_factor=CLOSER, mode="bicubic", antialias=True)
        close = self.oracle(larger)
        kinds = self._map("kinds", sight.kinds, close.kinds)
        colours = self._map("colours", sight.colours, close.colours)
        tells = sight.textures is not None
        textures = self._map("textures", sight.textures, close.textures) if tells else None
        settings, times = self._named("settings", sight.setting), self._named("times", sight.time)
        weathers = self._named("weathers", sight.weather) or [""] * len(pixels)
        styles = self._named("styles", sight.style) or [None] * len(pixels)
        return [
            sightings(
                *(kinds[i], colours[i], settings[i], times[i], weathers[i], styles[i]),
                None if textures is None else textures[i],
            )
            for i in range(len(pixels))
        ]

    def _map(self, head: str, logits: Tensor, closer: Tensor) -> Tensor:
        """The classes as numbers of label maps.  Shapes: (B, C, h, w), (B, C, 2h, 2w) -> (B, 2h, 2w)"""
        numbers = [0, *(KNOWN[head].index(word) + 1 for word in self.words[head])]
        first = F.interpolate(_belief(logits), scale_factor=CLOSER, mode="bilinear")
        belief = FIRST * first + _belief(closer)
        return torch.tensor(numbers)[belief.argmax(1).cpu()]

    def _named(self, head: str, logits: Tensor | None) -> list[str]:
        """The word for each picture; none at all where the oracle does not tell."""
        if logits is None:
            return []
        return [self.words[head][int(number)] for number in logits.argmax(1)]


def _belief(logits: Tensor) -> Tensor:
    """How likely each class is, as often as it comes.  Shapes: (B, C, h, w) -> the same"""
    fair = logits.clone()
    fair[:, 0] += NOTHING
    return fair.softmax(1)


def save_oracle(
    oracle: Oracle, path: Path, dtype: torch.dtype = torch.float16, *, world: World = SMALL
) -> None:
    """Write an oracle with its spec and its words, and beside it the checksum that `load_oracle` compares.

    Raises: StorageError
    """
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in oracle.state_dict().items()
    }
    header = {"format": FORMAT, CHECKER: oracle.spec.to_json(), "words": words_of(world)}
    data = save(tensors, {HEADER: json.dumps(header)})
    checksum = f"{sha256(data).hexdigest()}  {path.name}\n".encode("ascii")
    for target, content in ((path, data), (path.with_suffix(".sha256"), checksum)):
        with replacing(target) as part:
            part.write_bytes(content)


def load_oracle(path: Path | None = None, device: str = "cpu") -> OracleReader:
    """An oracle in float32, needing no gradients, with its own words; None is the one of fromnoise.

    Raises: StorageError if it cannot be read; WeightsError if it is damaged, is not what its checksum says,
            or was trained on words that cannot be drawn; RequestError if the device cannot be used
    """
    place, source, hint = find_device(device), path or ORACLE_FILE, "" if path else REINSTALL
    if not source.exists():
        raise StorageError(f"cannot read the oracle {source.name}: there is no {source}", hint=TRAIN_ONE)
    try:
        data = source.read_bytes()
        expected = source.with_suffix(".sha256").read_text(encoding="ascii").split()[:1]
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read the oracle {source.name}: {error}", hint=hint) from error
    found = sha256(data).hexdigest()
    if expected != [found]:
        raise WeightsError(f"{source.name} is damaged: its SHA-256 {found[:12]}… is not as noted", hint=hint)
    try:
        tensors, header = load(data), _header(data)
        oracle = Oracle(OracleSpec.from_json(header[CHECKER]))
        words = {head: tuple(listed) for head, listed in header["words"].items()}
        oracle.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{source.name} holds no oracle that we can read: {error}", hint=hint) from error
    check_words(words, oracle.spec, source.name)
    return OracleReader(oracle.to(place).eval().requires_grad_(False), words=words, digest=found)


def check_words(words: Words, spec: OracleSpec, name: str) -> None:
    """Raises: WeightsError unless there is a word that can be drawn for every class"""
    for head, known in KNOWN.items():
        listed, classes = words.get(head, ()), getattr(spec, head)
        classes -= bool(classes) and head in MAPS
        if strangers := [word for word in listed if word not in known]:
            problem = f"{name} was trained on a world with other {head}: {', '.join(strangers)}"
            raise WeightsError(problem, hint="train the oracle again: fromnoise train oracle")
        if len(listed) != classes:
            raise WeightsError(f"{name} holds no oracle that we can read: {len(listed)} {head} for {classes}")


def _header(data: bytes) -> dict[str, Any]:
    """Our JSON in the header of a safetensors file that has been read whole."""
    length = int.from_bytes(data[:LENGTH], "little")
    return json.loads(json.loads(data[LENGTH : LENGTH + length])["__metadata__"][HEADER])

"""The oracle at work: its file, and pictures to what was seen in them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fromnoise.durable import replacing
from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.nets.oracle import Oracle
from fromnoise.specs import OracleSpec
from fromnoise.weights.model_loader import FOLDER, REINSTALL
from fromnoise.weights.native import CHECKER, HEADER
from fromnoise.world.check import Seen, sightings
from fromnoise.world.vocabulary import COLOURS, SETTINGS, THINGS, TIMES

ORACLE_FILE: Final = FOLDER / "oracle.safetensors"
TRAIN_ONE: Final = "train one (fromnoise train oracle RUN, then assemble RUN) and name it: --oracle FILE"
FORMAT: Final = 1
STRIDE: Final = 16  # the oracle's coarsest pixel
LENGTH: Final = 8  # bytes at the start of a safetensors file that give the length of its header

# The order of an oracle's classes; a file made for other words would be read wrongly without a sign.
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "kinds": tuple(THINGS),
    "colours": COLOURS,
    "settings": SETTINGS,
    "times": TIMES,
}


@dataclass(frozen=True, slots=True)
class OracleReader:
    """Looks at pictures with an oracle.

    Shapes: pixels (B, 3, H, W) in [-1, 1], H and W multiples of 16 -> one Seen for each
    Raises: RequestError for another size
    """

    oracle: Oracle
    batch: int = 32

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> list[Seen]:
        """What each picture shows."""
        height, width = pixels.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise RequestError({"size": f"{width}x{height} is not in multiples of {STRIDE}"})
        device = next(self.oracle.parameters()).device
        starts = range(0, len(pixels), self.batch)
        parts = (pixels[at : at + self.batch].to(device, torch.float32) for at in starts)
        return [seen for part in parts for seen in self._read(part)]

    def _read(self, pixels: Tensor) -> list[Seen]:
        sight = self.oracle(pixels)
        heads = (sight.kinds, sight.colours, sight.setting, sight.time)
        kinds, colours, setting, time = (logits.argmax(1).cpu() for logits in heads)
        return [
            sightings(kinds[i], colours[i], SETTINGS[int(setting[i])], TIMES[int(time[i])])
            for i in range(len(pixels))
        ]


def save_oracle(oracle: Oracle, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write an oracle with its spec and its words, and beside it the checksum that `load_oracle` compares.

    Raises: StorageError
    """
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in oracle.state_dict().items()
    }
    header = {"format": FORMAT, CHECKER: oracle.spec.to_json(), "words": WORDS}
    data = save(tensors, {HEADER: json.dumps(header)})
    checksum = f"{sha256(data).hexdigest()}  {path.name}\n".encode("ascii")
    for target, content in ((path, data), (path.with_suffix(".sha256"), checksum)):
        with replacing(target) as part:
            part.write_bytes(content)


def load_oracle(path: Path | None = None, device: str | torch.device = "cpu") -> Oracle:
    """Load an oracle in float32, needing no gradients; None is the one that comes with fromnoise.

    Raises: StorageError if it cannot be read; WeightsError if it is damaged, is not what its checksum says,
            or was trained on a world of other words
    """
    source, hint = path or ORACLE_FILE, "" if path else REINSTALL
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
        words = {name: tuple(header["words"][name]) for name in WORDS}
        oracle.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{source.name} holds no oracle that we can read: {error}", hint=hint) from error
    if others := [name for name in WORDS if words[name] != WORDS[name]]:
        problem = f"{source.name} was trained on a world with other {' and '.join(others)}"
        raise WeightsError(problem, hint="train the oracle again: fromnoise train oracle")
    return oracle.to(device).eval().requires_grad_(False)


def _header(data: bytes) -> dict[str, Any]:
    """Our JSON in the header of a safetensors file that has been read whole."""
    length = int.from_bytes(data[:LENGTH], "little")
    return json.loads(json.loads(data[LENGTH : LENGTH + length])["__metadata__"][HEADER])

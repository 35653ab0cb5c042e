"""What a child process is asked to do, and what it answers; nothing here needs torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

MB: Final = 1_000_000
SIZE: Final = 512  # pixels along a side
LONG: Final = 20  # steps of a whole picture
SHORT: Final = 2  # steps of the picture that is compared with ours
GUIDANCE: Final = 7.5
SEED: Final = 7
PROMPT: Final = "a red lighthouse on an island at sunset"
BF16, FP32 = "bf16", "fp32"
NUMBERS: Final[Mapping[str, str]] = {BF16: "bfloat16", FP32: "float32"}  # as torch calls them


@dataclass(frozen=True, slots=True)
class Job:
    """Where things lie, and how often they are done."""

    home: Path
    size: int = SIZE
    threads: int = 1
    runs: int = 5  # steps that are timed, after one that is not
    decodes: int = 3  # the same of the decoder
    number: str = BF16  # what everybody calculates in
    began: float = 0.0  # seconds since the epoch: when the process was started
    compiled: Path = Path()  # what a system keeps of its own compilation; empty: it starts cold
    picture: Path = Path()  # to be drawn

    @property
    def single(self) -> Path:
        """The weights as one file, named as LDM does."""
        return self.home / "sd15.safetensors"

    @property
    def folder(self) -> Path:
        """The same weights as a folder for diffusers."""
        return self.home / "sd15"

    @property
    def reference(self) -> Path:
        """What our plain networks answer in float32."""
        return self.home / f"reference-{self.size}.safetensors"

    def converted(self, name: str) -> Path:
        """What a system has made of the weights, once and for all."""
        return self.home / "converted" / f"{name}-{self.size}"

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, path: Path) -> "Job":
        """What `write` wrote."""
        job = cls(**json.loads(path.read_text()))
        paths = {name: Path(getattr(job, name)) for name in ("home", "compiled", "picture")}
        return replace(job, **paths)


@dataclass(slots=True)
class Found:
    """What one process measured: seconds and bytes."""

    first: float = 0.0  # from the start of the process to the end of the first guided step
    steps: list[float] = field(default_factory=list[float])
    decodes: list[float] = field(default_factory=list[float])
    peak: dict[str, int] = field(default_factory=dict[str, int])  # most memory held so far, after "steps" …
    error: dict[str, float] = field(default_factory=dict[str, float])  # relative, to our plain float32
    versions: dict[str, str] = field(default_factory=dict[str, str])

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return asdict(self)


def peak_memory() -> int:
    """Bytes: the most that this process ever held (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

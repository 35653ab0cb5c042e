"""What a file turned out to be, and what proves it."""

from dataclasses import dataclass
from typing import Final

from fromnoise.specs import ModelSpec

OURS, DIFFUSERS, LDM = "ours", "diffusers", "ldm:"  # layouts; "ldm:" is followed by one of `layouts.LAYOUTS`
MODEL: Final = "model"
UNDECIDED: Final = "undecided"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a file: what it is about, what is so, and which key, shape, file or number says it."""

    what: str
    value: str
    evidence: str
    decided: bool = True  # False: nothing says it, the value is what the family usually has


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file is."""

    kind: (
        str  # "model", or what else: "U-Net", "autoencoder", "text encoder", "LoRA", "ControlNet", "Flux.1" …
    )
    family: str  # "sd1", "sd2", "sdxl", "refiner"; "" if none
    variant: str  # "base", "inpaint", "depth", "lcm", …; the well-known name of a pruned U-Net
    layout: str  # "ldm:sd1", …; "diffusers", "ours"; "" if neither
    spec: (
        ModelSpec | None
    )  # of the whole model; what is not in the file is the family's. None: cannot be built
    findings: tuple[Finding, ...] = ()
    obstacle: str = ""  # why it cannot draw, "" if it can
    hint: str = ""

    def finding(self, what: str) -> Finding | None:
        """The first finding about this."""
        return next((finding for finding in self.findings if finding.what == what), None)

    @property
    def undecided(self) -> tuple[str, ...]:
        """What nothing in the file says: a probe or the user may."""
        return tuple(finding.what for finding in self.findings if not finding.decided)

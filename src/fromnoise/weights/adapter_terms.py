"""What an adapter says of its use: the one model it was made for, and the steps and guidance it wants."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from fromnoise.checks import MAX_GUIDANCE, MAX_STEPS, number, optional, text, whole
from fromnoise.errors import WeightsError

SAID: Final = "fromnoise.terms"  # the metadata key


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """None, or "", says nothing; what a request leaves open takes the others."""

    made_for: str = ""  # the SHA-256 of the model's file
    steps: int | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        text(self.made_for)
        optional(whole(1, MAX_STEPS))(self.steps)
        optional(number(0, MAX_GUIDANCE))(self.guidance)

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self:
        """Those in an adapter's metadata.  Raises: WeightsError if they make no sense"""
        try:
            said: Any = json.loads(metadata.get(SAID, "{}"))
            return cls(**said)
        except (ValueError, TypeError, RecursionError) as error:
            raise WeightsError(f"what it says of its use ({SAID}) makes no sense: {error}") from error

    def metadata(self) -> dict[str, str]:
        """As an adapter's file holds them."""
        return {SAID: json.dumps(asdict(self))}

    def defaults(self) -> dict[str, Any]:
        """What a request gets that leaves these fields open."""
        said = {"steps": self.steps, "guidance": self.guidance}
        return {name: value for name, value in said.items() if value is not None}

"""Which WorldEval a score was made by: two scores are compared only where the ruler is the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any, Final, Self

from fromnoise.errors import RequestError
from fromnoise.score.tiers import Tier

# Of the rules: what counts as right, how pictures are read, which prompts are asked. Raise it with any
# change; tests/score/test_stamp.py notices.
VERSION: Final = 3


@dataclass(frozen=True, slots=True)
class Stamp:
    """The ruler (version, checker, plans, world, pictures a prompt), and what was measured with it."""

    checker: str  # SHA-256 of its file
    plans: str  # of all prompts and their scenes
    world: str
    seeds: int
    version: int = VERSION
    model: str = ""
    model_hash: str = ""
    drawn: Mapping[str, Any] = field(default_factory=dict[str, Any])  # steps, guidance, sampler …

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Back from `to_json`."""
        return cls(**{f.name: data[f.name] for f in fields(cls)})

    def __str__(self) -> str:
        return (
            f"WorldEval {self.version}, checker {self.checker[:12]}…, plans {self.plans[:12]}…, "
            f"{self.world} world, {self.seeds} seeds a prompt"
        )


RULER: Final = ("version", "checker", "plans", "world", "seeds")


def check_comparable(old: Stamp | None, new: Stamp | None) -> None:
    """Raises: RequestError, which names all that differs, unless both were measured alike"""
    if old is None or new is None:
        raise RequestError({"against": "a score without a stamp cannot be compared"}, hint="score it again")
    unlike = [name for name in RULER if getattr(old, name) != getattr(new, name)]
    if unlike:
        told = ", ".join(
            f"{name} {_short(getattr(old, name))} and {_short(getattr(new, name))}" for name in unlike
        )
        problem = f"two scores of different rulers cannot be compared: {told}"
        raise RequestError({"against": problem}, hint="score the other model again with this version")


def plans_digest(tiers: Sequence[Tier]) -> str:
    """The SHA-256 of everything that is asked for: prompts, their facts, their scenes."""
    asked = [
        [tier.name, list(tier.parts), split, [asdict(prompt) for prompt in prompts]]
        for tier in tiers
        for split, prompts in tier.prompts.items()
    ]
    return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _short(value: object) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 12 else str(value)

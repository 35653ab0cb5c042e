"""What a conversion did to each tensor, with the SHA-256 of its bytes before and after."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from fromnoise.weights.identity import UNDECIDED
from fromnoise.weights.wording import few, shown

Change = Literal["same", "reshaped", "rearranged", "retyped"]
MEANING: Final[Mapping[Change, str]] = {
    "same": "unchanged, bit for bit",
    "reshaped": "in another shape, the same bytes",
    "rearranged": "split, joined or transposed, the same numbers",
    "retyped": "in another type of numbers",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One tensor that was written."""

    name: str
    sources: tuple[str, ...]  # none: it was not in the source
    before: tuple[str, ...]  # a hash for each source
    after: str
    dtype: str
    shape: tuple[int, ...]
    change: Change
    error: float = 0.0  # the largest by rounding, as a part of the tensor's largest number


@dataclass(frozen=True, slots=True)
class Report:
    """A conversion, tensor by tensor."""

    source: str
    target: str
    model: Mapping[str, str]  # family, variant, layout, prediction
    lines: Sequence[Line]
    left_out: Mapping[str, str]  # tensors, and other things, with the reason
    metadata: Mapping[str, str]  # as written
    verified: bool = False  # the target was read again, and holds what was written
    doubts: Sequence[str] = ()  # what the user should know

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, texts and numbers."""
        counts = Counter(line.change for line in self.lines)
        return {
            "source": self.source,
            "target": self.target,
            "model": dict(self.model),
            "verified": self.verified,
            "doubts": list(self.doubts),
            "counts": {change: counts[change] for change in MEANING},
            "tensors": [asdict(line) for line in self.lines],
            "left_out": dict(self.left_out),
            "metadata": dict(self.metadata),
        }

    def summary(self) -> Iterator[str]:
        """For people: a line for each kind of change, and for each reason to leave something out."""
        prediction = self.model["prediction"]
        known = "" if prediction == UNDECIDED else f", which predicts {prediction}"
        yield f"read as {self.model['family']} ({self.model['variant']}){known}"
        counts = Counter(line.change for line in self.lines)
        for change, meaning in MEANING.items():
            if count := counts[change]:
                tensors = "1 tensor" if count == 1 else f"{count} tensors"
                yield f"{tensors} {meaning}{self._error() if change == 'retyped' else ''}"
        if added := [line.name for line in self.lines if not line.sources]:
            yield f"written in addition: {few(added)}"
        for reason in dict.fromkeys(self.left_out.values()):
            names = [name for name, why in self.left_out.items() if why == reason]
            yield f"left out: {few(names)} ({reason})"
        if self.verified:
            yield "read again: every tensor is as it was written"

    def _error(self) -> str:
        worst = max(self.lines, key=lambda line: line.error)
        if not worst.error:
            return ", without rounding"
        return f", rounded by at most {worst.error:.1e} of a tensor's largest number ({shown(worst.name)})"

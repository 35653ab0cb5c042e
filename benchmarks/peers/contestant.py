"""A system that takes part: how it is measured, and how it draws a picture; nothing here needs torch."""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from benchmarks.peers.job import Found, Job

STEPS: Final = "steps"  # the most memory that was held until the last of them
ALL: Final = "all"  # in the end


class Contestant(ABC):
    """Made anew in every process; it imports late what it needs, so that nobody pays for others."""

    packages: ClassVar[tuple[str, ...]]  # whose versions are told

    def __init__(self, job: Job) -> None:
        self.job = job

    def prepare(self) -> None:  # noqa: B027  # most have nothing to prepare
        """Convert the weights, once, and keep the result in the job's folder."""

    @abstractmethod
    def first(self) -> Found:
        """One guided step from the start of the process."""

    @abstractmethod
    def measure(self) -> Found:
        """That step again, then several, then the decoder."""

    @abstractmethod
    def draw(self) -> None:
        """A whole picture, saved."""

"""How long things took: counts of them in fixed classes, cheap enough for every lookup."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Final

BOUNDS_SECONDS: Final = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Up to and including which time each class goes; one more has what took longer."""


class Durations:
    """A histogram. One thread adds; another may read at any time, and then the sum may lack what was added last."""

    __slots__ = ("_counts", "sum_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def add(self, seconds: float, number: int = 1) -> None:
        """Count `number` things that took so long each."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += number
        self.sum_seconds += seconds * number

    def cumulative(self) -> list[int]:
        """Return how many took at most each of BOUNDS_SECONDS, and at the end how many there were."""
        return list(accumulate(self._counts.copy()))

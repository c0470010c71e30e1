"""A ratio of two rates that were measured in pairs, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 10_000
_OUTSIDE_PERCENT = 5


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the pairs' ratios, with the 95 % interval of that median."""

    median: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, ours: Sequence[float], ideal: Sequence[float]) -> Ratio:
        """Return that of rates; the interval is a bootstrap's, so that one disturbed round does not stretch it."""
        ratios = np.array(ours) / np.array(ideal)
        drawn = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
        low, high = np.percentile(np.median(drawn, axis=1), (_OUTSIDE_PERCENT / 2, 100 - _OUTSIDE_PERCENT / 2))
        return cls(float(np.median(ratios)), float(low), float(high), len(ratios))

    def verdict(self, bar: float) -> str:
        """Tell whether the whole interval is on one side of a bar."""
        if self.low >= bar:
            return "reached"
        return "missed" if self.high < bar else "not told apart"

"""How long nodes take: what is remembered of each, and what is usual."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

_UNIT_BYTES: Final = 128 << 10
_WEIGHT: Final = 0.1  # of the latest answer
_LEAST_SECONDS: Final = 1e-6
_FORGET_SECONDS: Final = 5.0
_RECENT: Final = 0.5  # of what an answer counts for when it comes
_WINDOW: Final = 256  # answers of about one size, of which quantiles are taken
_FEWEST: Final = 20
_RECOUNT_EVERY: Final = 16


def units(num_bytes: int) -> float:
    """Return the work in an answer of so many bytes: a small one is one unit, as it costs mostly what all cost."""
    return 1.0 + num_bytes / _UNIT_BYTES


class NodeLatency:
    """Seconds that one node takes for a unit of work: a moving geometric mean, forgotten while nobody asks the node.

    Geometric, so that a few answers that took fifty times as long do not look like a node that is slow.
    """

    def __init__(self) -> None:
        self._log = math.nan
        self._when = 0.0
        self._is_least = False  # whether what is remembered is only how long answers take at least

    def record(self, seconds: float, work: float, now: float) -> None:
        """Take note of an answer that took `seconds` for `work` units."""
        sample = _log_of(seconds, work)
        if self._is_least and sample > self._log:
            self._log = sample
        else:
            self._mix_in(sample, now)
        self._is_least = False
        self._when = now

    def record_at_least(self, seconds: float, work: float, now: float) -> None:
        """Take note of an answer that would have taken longer than `seconds` for `work` units.

        Where no answer is known of late, the next one that takes longer is believed as if it were the first.
        """
        self._is_least = not self.is_recent(now)
        self._mix_in(_log_of(seconds, work), now)
        self._when = now

    def _mix_in(self, sample: float, now: float) -> None:
        if math.isnan(self._log):
            self._log = sample
        else:  # what is long ago counts for little
            self._log = sample + (1 - _WEIGHT) * self._freshness(now) * (self._log - sample)

    def seconds(self, usual: float, now: float) -> float:
        """Return seconds a unit: what is remembered, the less of it and the more of what is `usual` the older it is."""
        if math.isnan(self._log):
            return usual
        weight = self._freshness(now)
        return math.exp(math.log(usual) * (1 - weight) + self._log * weight)

    @property
    def remembered(self) -> float:
        """Seconds a unit as last known; NaN before the first answer."""
        return math.exp(self._log)

    def is_recent(self, now: float) -> bool:
        """Tell whether answers of late are remembered, which count for more than what is usual."""
        return not math.isnan(self._log) and not self._is_least and self._freshness(now) > _RECENT

    def _freshness(self, now: float) -> float:
        return math.exp(min(0.0, self._when - now) / _FORGET_SECONDS)


class UsualLatency:
    """Quantiles of how long answers of about one size take, over all nodes."""

    def __init__(self) -> None:
        self._windows: dict[int, _Window] = {}

    def record(self, seconds: float, work: float) -> None:
        """Take note of an answer."""
        size = _size(work)
        if size not in self._windows:
            self._windows[size] = _Window()
        self._windows[size].add(seconds)

    def quantile(self, work: float, share: float) -> float | None:
        """Return the seconds within which this share of answers of about this size came; None if too few are known."""
        window = self._windows.get(_size(work))
        return None if window is None else window.quantile(share)


class _Window:
    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_WINDOW)
        self._sorted: list[float] = []
        self._quantiles: dict[float, float] = {}  # of those: each request asks for several
        self._new = 0

    def add(self, seconds: float) -> None:
        self._samples.append(seconds)
        self._new += 1
        if self._new >= _RECOUNT_EVERY or not self._sorted:
            self._sorted, self._new = sorted(self._samples), 0
            self._quantiles.clear()

    def quantile(self, share: float) -> float | None:
        if len(self._sorted) < _FEWEST:
            return None
        if share not in self._quantiles:
            self._quantiles[share] = self._sorted[min(len(self._sorted) - 1, math.ceil(share * len(self._sorted)))]
        return self._quantiles[share]


def _log_of(seconds: float, work: float) -> float:
    return math.log(max(seconds, _LEAST_SECONDS) / work)


def _size(work: float) -> int:
    return math.frexp(work)[1]

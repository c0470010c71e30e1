"""Times counted in buckets that grow with them, as an HDR histogram does: bounded memory, bounded relative error."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PRECISION_BITS: Final = 10
_LONGEST_NANOSECONDS: Final = 2**53  # 104 days, and exact as a float
RELATIVE_ERROR: Final = 2.0**-_PRECISION_BITS
"""A percentile is never below the true one and above it by at most this part of it."""


class LatencyHistogram:
    """How many times fell into each bucket; two of them add up. Times below 2 us are exact to the nanosecond.

    Buckets are 1 ns wide below 2^11 ns, twice as wide from there to 2^12, and so on. Only those in use take memory, a
    few thousand.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._sum_nanoseconds = 0
        self._least, self._most = _LONGEST_NANOSECONDS, 0

    def record(self, seconds: float) -> None:
        """Count a time; negative ones, which clocks can make, count as zero."""
        nanoseconds = min(max(0, round(seconds * 1e9)), _LONGEST_NANOSECONDS)
        self._counts[_bucket(nanoseconds)] += 1
        self._sum_nanoseconds += nanoseconds
        self._least, self._most = min(self._least, nanoseconds), max(self._most, nanoseconds)

    def record_all(self, seconds: NDArray[np.float64]) -> None:
        """Count many times (n,)."""
        if not len(seconds):
            return
        times = np.clip(np.rint(seconds * 1e9), 0, _LONGEST_NANOSECONDS).astype(np.int64)
        shifts = np.maximum(0, np.frexp(times)[1] - _PRECISION_BITS - 1).astype(np.int64)
        buckets, counts = np.unique((shifts << _PRECISION_BITS) + (times >> shifts), return_counts=True)
        self._counts.update(dict(zip(buckets.tolist(), counts.tolist(), strict=True)))
        self._sum_nanoseconds += int(times.sum())
        self._least, self._most = min(self._least, int(times.min())), max(self._most, int(times.max()))

    def add(self, other: LatencyHistogram) -> None:
        """Take in all that another one counted."""
        self._counts.update(other._counts)
        self._sum_nanoseconds += other._sum_nanoseconds
        self._least, self._most = min(self._least, other._least), max(self._most, other._most)

    @property
    def count(self) -> int:
        """How many times were counted."""
        return self._counts.total()

    @property
    def mean(self) -> float | None:
        """Seconds; None if there is nothing to take the mean of."""
        return self._sum_nanoseconds / self.count / 1e9 if self._counts else None

    @property
    def least(self) -> float | None:
        """The shortest time in seconds, exactly."""
        return self._least / 1e9 if self._counts else None

    @property
    def most(self) -> float | None:
        """The longest time in seconds, exactly."""
        return self._most / 1e9 if self._counts else None

    def percentile(self, percent: float) -> float | None:
        """Return the time in seconds that `percent` of 100 did not exceed (nearest rank); None if there is none."""
        if not self._counts:
            return None
        rank = max(1, math.ceil(round(percent * self.count / 100, 6)))  # 99.9 % of 1,000 is the 999th, not a bit more
        passed = 0
        for bucket in sorted(self._counts):
            passed += self._counts[bucket]
            if passed >= rank:
                return min(_upper_end(bucket), self._most) / 1e9
        raise AssertionError(f"rank {rank} is past the {passed} counted times")


def _bucket(nanoseconds: int) -> int:
    # The leading eleven bits say where in its power of two a time lies, the shift says which one.
    shift = max(0, nanoseconds.bit_length() - _PRECISION_BITS - 1)
    return (shift << _PRECISION_BITS) + (nanoseconds >> shift)


def _upper_end(bucket: int) -> int:
    """Return the longest time of a bucket, in nanoseconds."""
    shift = max(0, (bucket >> _PRECISION_BITS) - 1)
    leading = bucket - (shift << _PRECISION_BITS)
    return ((leading + 1) << shift) - 1

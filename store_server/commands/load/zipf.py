"""Ranks that follow Zipf's law on a table of any size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN_RATIO: Final = (math.sqrt(5) - 1) / 2


class Zipf:
    """Draws ranks 1 to `size`, rank r with probability in proportion to r ** -exponent, in time that does not grow.

    W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions",
    ACM TOMACS 6 (1996), over whole arrays: a point under a smooth curve is drawn by inversion, and kept when it lies
    within the bar of the rank next to it.
    """

    def __init__(self, size: int, exponent: float, generator: np.random.Generator) -> None:
        self._size = size
        self._exponent = exponent
        self._generator = generator
        # The first bar is cut where the curve has its area, so that it is never refused.
        self._low = float(self._area(np.array([1.5]))[0]) - 1.0
        self._high = float(self._area(np.array([size + 0.5]))[0])

    def ranks(self, count: int) -> NDArray[np.int64]:
        """Return `count` ranks, (count,) int64."""
        found = np.empty(count, np.int64)
        filled = 0
        while filled < count:
            kept = self._draw(count - filled)
            found[filled : filled + len(kept)] = kept
            filled += len(kept)
        return found

    def _draw(self, count: int) -> NDArray[np.int64]:
        areas = self._generator.uniform(self._low, self._high, count)
        ranks = np.clip(np.rint(self._inverse_area(areas)), 1, self._size)
        in_bar = areas >= self._area(ranks + 0.5) - ranks**-self._exponent
        return ranks[in_bar].astype(np.int64)

    def _area(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the area under x ** -exponent from 1."""
        if self._exponent == 1:
            return np.log(x)
        area: NDArray[np.float64] = np.expm1((1 - self._exponent) * np.log(x)) / (1 - self._exponent)
        return area

    def _inverse_area(self, area: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._exponent == 1:
            return np.exp(area)
        x: NDArray[np.float64] = np.exp(np.log1p(area * (1 - self._exponent)) / (1 - self._exponent))
        return x


def scatter(ranks: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return a row for each rank of 1 to `size`, no row twice: neighbours in rank lie far apart, as hashed ones do."""
    step = max(1, round(size * _GOLDEN_RATIO))
    while math.gcd(step, size) != 1:
        step += 1
    # Multiplied in parts, because a product of two row numbers may not fit into int64; these do below 2^39 rows.
    high, low = np.divmod(ranks - 1, 2**16)
    rows: NDArray[np.int64] = ((high * step % size) * 2**16 + low * step) % size
    return rows

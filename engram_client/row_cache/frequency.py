"""How often keys were asked for lately, in a fixed few bytes, whatever the number of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.row_cache.key_hash import high_half, place_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COUNTER_ROWS: Final = 4
_LARGEST: Final = np.uint8(255)
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)


class FrequencySketch:
    """Counts that may come out too high where keys share counters, and never come out too low before 255.

    A count-min sketch with conservative update (Cormode and Muthukrishnan, 2005; Estan and Varghese, 2002): each key
    has a counter in each of four rows, the lowest of them is its count, and counting raises only what is lower than
    that.
    """

    def __init__(self, num_bytes: int) -> None:
        self._counters = np.zeros((_COUNTER_ROWS, max(1, num_bytes // _COUNTER_ROWS)), np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._counters.nbytes

    def count(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Count keys (n,), given by their hashes, once more and return their counts; repeats in one call count once."""
        places = [self._places(hashes, row) for row in range(_COUNTER_ROWS)]
        counts = [counters.take(place) for counters, place in zip(self._counters, places, strict=True)]
        lowest: NDArray[np.uint8] = np.minimum.reduce(counts)
        raised = lowest + (lowest < _LARGEST).view(np.uint8)
        for counters, place in zip(self._counters, places, strict=True):
            np.maximum.at(counters, place, raised)  # "at": keys of one call may share a counter
        return raised

    def age(self) -> None:
        """Halve every count, so that what was frequent long ago does not stay so."""
        self._counters >>= 1

    def _places(self, hashes: NDArray[np.uint64], row: int) -> NDArray[np.int64]:
        # Two halves of one hash make any number of hashes (Kirsch and Mitzenmacher, 2006).
        mixed = (hashes + high_half(hashes) * np.uint64(2 * row + 1)) & _LOW_HALF
        return place_in(mixed, self._counters.shape[1])

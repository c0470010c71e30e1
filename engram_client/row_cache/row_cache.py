"""A bounded set of rows, found and replaced a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.row_cache.frequency import FrequencySketch
from engram_client.row_cache.key_hash import hash_keys, high_half, place_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.arrays import Int64Array, Uint8Array

WAYS: Final = 8
_NO_KEY: Final = -1
_SLOT_BYTES: Final = 8 + 4  # key and score
_SKETCH_BYTES: Final = 16  # a slot
_CLAIM_BYTES: Final = 4  # a set
_LOOKUPS_A_SLOT_AND_HALVING: Final = 4
_PASSES: Final = 4
_BATCH_ROWS: Final = 8192  # what is worked on at a time: the arrays in between stay in the processor's cache


class RowCache:
    """Rows of one width under integer keys, within a fixed number of bytes.

    Slots come in sets of eight; the hash of a key names its set, so finding a key compares eight numbers that lie side
    by side. A row is admitted when the least valued one of its set has a lower score. The score is the logarithm of a
    frequency that halves over time: what is looked up again gains, what is not sinks, and a row that was looked up once
    cannot push out one that is looked up often. How often a row that is not held was wanted is told by a sketch.

    Measured on 800,000 tokens of the kernel's manual, one column, as a share of what the best fixed choice of as many
    rows saves when it is loaded beforehand (0.845 of that is left to it if it pays for loading): least recently used
    0.57; this with an exact count of every row ever seen 0.71; with the sketch 0.68, and with 1, 2, 4, 16 ways 0.60,
    0.64, 0.67, 0.69, at 0.4, 0.5, 0.8, 1.6 times the cost. Sketches of 4, 8, 32 bytes a slot: 0.60, 0.62, 0.69, but
    32 displace rows. Its counters in 1, 2, 3 rows: 0.65, 0.68, 0.68. Halving every 2, 3, 6, 8 lookups a slot: 0.66,
    0.68, 0.65, 0.65. Admitting only half, a quarter, none of the rows seen once: 0.62, 0.60, 0.57, for fewer copies.
    tests/bench/less_to_send.py shows the whole, where what is kept beside the rows takes a tenth of the bytes.

    Not safe for threads: the event loop that it works for keeps its calls apart.

    Args:
        cache_bytes: the most that it may hold, everything counted.
        row_bytes: width of a row.

    Raises:
        ValueError: cache_bytes do not hold one set of rows.
    """

    def __init__(self, cache_bytes: int, row_bytes: int) -> None:
        num_sets = cache_bytes // set_bytes(row_bytes)
        if num_sets < 1:
            raise ValueError(
                f"cache_bytes must be at least {set_bytes(row_bytes)} for rows of {row_bytes} bytes, got {cache_bytes}"
            )
        self.num_slots = num_sets * WAYS
        self._num_sets = num_sets
        self._keys = np.full((num_sets, WAYS), _NO_KEY, np.int64)
        self._scores = np.full((num_sets, WAYS), -np.inf, np.float32)
        self._claims = np.zeros(num_sets, np.int32)
        self._rows = _items(np.empty((self.num_slots, row_bytes), np.uint8))
        self._frequency = FrequencySketch(self.num_slots * _SKETCH_BYTES)
        self._halving_lookups = self.num_slots * _LOOKUPS_A_SLOT_AND_HALVING
        self._lookups = 0  # since the last halving

    @property
    def nbytes(self) -> int:
        """Bytes held, at most cache_bytes; a call needs some megabytes more while it runs."""
        arrays = (self._keys, self._scores, self._claims, self._rows)
        return sum(array.nbytes for array in arrays) + self._frequency.nbytes

    def take(self, keys: Int64Array, out: Uint8Array) -> Int64Array:
        """Put the rows that are held into `out` (n, row_bytes) and return the places of the other keys, ascending.

        Keys (n,) are at least 0; rows of `out` at the places returned are left alone.
        """
        missing = [
            start + self._take(keys[start : start + _BATCH_ROWS], out[start : start + _BATCH_ROWS])
            for start in range(0, len(keys), _BATCH_ROWS)
        ]
        return np.concatenate(missing) if missing else np.empty(0, np.int64)

    def put(self, keys: Int64Array, rows: Uint8Array) -> None:
        """Offer the rows (n, row_bytes) of keys that `take` did not find; keeps copies of those that are worth it.

        Keys may repeat and may have been put in meanwhile, each time with the same row.
        """
        for start in range(0, len(keys), _BATCH_ROWS):
            self._put(keys[start : start + _BATCH_ROWS], rows[start : start + _BATCH_ROWS])

    def _take(self, keys: Int64Array, out: Uint8Array) -> Int64Array:
        places, slots = self._find(keys, self._sets_of(hash_keys(keys)))
        if places.size:
            _items(out)[places] = self._rows[slots]
            scores = self._scores.reshape(-1)
            scores[slots] = np.logaddexp2(scores[slots], self._now())  # one more, now
        self._grow_older(len(keys))
        is_missing = np.ones(len(keys), np.bool_)
        is_missing[places] = False
        return np.flatnonzero(is_missing)

    def _put(self, keys: Int64Array, rows: Uint8Array) -> None:
        hashes = hash_keys(keys)
        sets = self._sets_of(hashes)
        scores = np.log2(self._frequency.count(hashes), dtype=np.float32) + self._now()
        items, left = _items(rows), np.arange(len(keys))  # left: places of the rows that may still be admitted
        for _ in range(_PASSES):  # each admits at most one row a set
            left = left[self._not_held(keys[left], sets[left])]
            ways, lowest = self._least_valued(sets[left])
            is_worth_more = scores[left] >= lowest
            left, ways = left[is_worth_more], ways[is_worth_more]
            if not left.size:
                return
            is_first = self._claim(sets[left])
            chosen = left[is_first]
            slots = sets[chosen] * WAYS + ways[is_first]
            self._rows[slots] = items[chosen]
            self._keys.reshape(-1)[slots] = keys[chosen]
            self._scores.reshape(-1)[slots] = scores[chosen]
            left = left[~is_first]

    def _sets_of(self, hashes: NDArray[np.uint64]) -> Int64Array:
        return place_in(high_half(hashes), self._num_sets)

    def _find(self, keys: Int64Array, sets: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the places of the keys that are held, and their slots."""
        found = np.flatnonzero(self._keys.take(sets, axis=0) == keys[:, None])
        places = found // WAYS
        return places, sets[places] * WAYS + found % WAYS

    def _not_held(self, keys: Int64Array, sets: Int64Array) -> NDArray[np.bool_]:
        held, _ = self._find(keys, sets)
        is_not_held = np.ones(len(keys), np.bool_)
        is_not_held[held] = False
        return is_not_held

    def _least_valued(self, sets: Int64Array) -> tuple[Int64Array, NDArray[np.float32]]:
        """Return the way with the lowest score in each set, and that score."""
        scores = self._scores.take(sets, axis=0)
        ways = scores.argmin(axis=1)
        return ways, scores[np.arange(len(sets)), ways]

    def _claim(self, sets: Int64Array) -> NDArray[np.bool_]:
        """Return True for one of each number in `sets`."""
        claimant = np.arange(len(sets), dtype=np.int32)
        self._claims[sets] = claimant
        is_first: NDArray[np.bool_] = self._claims[sets] == claimant
        return is_first

    def _now(self) -> np.float32:
        """Return what a lookup at this moment counts, as a logarithm: later ones weigh more, up to twice as much."""
        return np.float32(self._lookups / self._halving_lookups)

    def _grow_older(self, lookups: int) -> None:
        self._lookups += lookups
        while self._lookups >= self._halving_lookups:
            self._lookups -= self._halving_lookups
            self._scores -= 1
            self._frequency.age()


def set_bytes(row_bytes: int) -> int:
    """Return what one set of slots takes, everything counted."""
    return WAYS * (_SLOT_BYTES + row_bytes + _SKETCH_BYTES) + _CLAIM_BYTES


def _items(rows: Uint8Array) -> NDArray[np.void]:
    """Return rows (n, row_bytes) as n items: NumPy moves them in half the time."""
    return rows.reshape(-1).view(f"V{rows.shape[1]}")

"""Multiplicative hashing of 64-bit keys: the highest bits of the product depend on all bits of the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MULTIPLIERS: Final = tuple(
    map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93))
)
"""Odd numbers, each of which makes another hash."""


def places_of(keys: NDArray[np.int64], bits: int, multiplier: np.uint64 = MULTIPLIERS[0]) -> NDArray[np.int64]:
    """Return a place below 2**bits for each key, `bits` from 1 to 63."""
    return ((keys.view(np.uint64) * multiplier) >> np.uint64(64 - bits)).view(np.int64)

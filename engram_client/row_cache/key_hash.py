"""Hashes of row keys, and hashes as places in a range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.multiplicative_hash import MULTIPLIERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST, *_, _SECOND = MULTIPLIERS
_HALF: Final = np.uint64(32)


def hash_keys(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each key, of which both halves can be used by themselves."""
    hashes = keys.view(np.uint64) * _FIRST
    hashes ^= hashes >> _HALF
    hashes *= _SECOND
    return hashes


def high_half(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the upper 32 bits, below 2**32."""
    return hashes >> _HALF


def place_in(hashes: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Return a place in range(size) for each 32-bit hash, for any size up to 2**32: a product, no division."""
    return ((hashes * np.uint64(size)) >> _HALF).view(np.int64)

"""The rows of every head: mix floor-mod prime + offset, which is nearly all the work of hashing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to this many tokens one broadcast remainder is quicker than a pass per column: 4 us against 100 us for one token.
BROADCAST_TOKENS = 1024
# Tokens whose offsets are added at a time: NumPy adds long rows 1.4 times as fast as many of 24 numbers.
_OFFSET_TOKENS = 64


def head_rows(mixes: NDArray[np.int64], primes: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return mix floor-mod prime + offset for every head, int64 (tokens, columns).

    Args:
        mixes: int64 (orders, tokens): all heads of one order share a mix.
        primes: int64 (orders, heads).
        offsets: int64 (columns,), columns = orders * heads.
    """
    (orders, tokens), heads = mixes.shape, primes.shape[1]
    rows = np.empty((tokens, offsets.size), dtype=np.int64)
    if tokens <= BROADCAST_TOKENS:
        np.remainder(mixes.T[:, :, None], primes, out=rows.reshape(tokens, orders, heads))
        rows += offsets
        return rows
    # A column at a time, stored where it belongs: the processor stores one remainder while it divides for the next.
    for column, prime in enumerate(primes.flat):
        np.remainder(mixes[column // heads], prime, out=rows[:, column])
    whole = tokens - tokens % _OFFSET_TOKENS
    long_rows = rows[:whole].reshape(-1, _OFFSET_TOKENS * offsets.size)
    long_rows += np.tile(offsets, _OFFSET_TOKENS)
    rows[whole:] += offsets
    return rows

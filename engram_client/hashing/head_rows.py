"""The rows of every head: mix floor-mod prime + offset, which is nearly all the work of hashing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to this many tokens one broadcast remainder is quicker than a pass per column: 4 us against 100 us for one token.
BROADCAST_TOKENS = 1024
# More tokens are hashed in blocks, which bounds the memory beside the result. It stays below the result's own size, so
# that the C library's allocator hands out the same memory call after call instead of fresh pages.
BLOCK_TOKENS = 8192


def head_rows(
    mixes: NDArray[np.int64], primes: NDArray[np.int64], offsets: NDArray[np.int64], num_rows: int
) -> NDArray[np.int64]:
    """Return mix floor-mod prime + offset for every head, int64 (tokens, columns).

    Args:
        mixes: int64 (orders, tokens): all heads of one order share a mix.
        primes: int64 (orders, heads).
        offsets: int64 (columns,), columns = orders * heads.
        num_rows: a bound on the result.
    """
    orders, tokens = mixes.shape
    rows = np.empty((tokens, offsets.size), dtype=np.int64)
    if tokens <= BROADCAST_TOKENS:
        np.remainder(mixes.T[:, :, None], primes, out=rows.reshape(tokens, orders, primes.shape[1]))
        rows += offsets
        return rows
    fits = num_rows <= 2**32 and primes.shape[1] % 2 == 0 and sys.byteorder == "little"
    fill = _fill_pairs if fits else _fill_columns
    dtype = np.int64 if mixes.min() < 0 else np.uint64  # NumPy divides twice as fast without signs
    fill(mixes.view(dtype), primes.view(dtype), offsets.view(dtype), rows)
    return rows


def _fill_pairs(
    mixes: NDArray[np.integer], primes: NDArray[np.integer], offsets: NDArray[np.integer], out: NDArray[np.int64]
) -> None:
    """Compute two columns at once as the halves of one 64-bit number, and widen them in the end.

    NumPy divides by one number with SIMD, which it does not do for remainders. Storing a column into rows is the other
    half of the work, and pairs store half as often. With quotients q, r0 + 2**32 * r1 is
    mix * (1 + 2**32) - q0 * p0 - q1 * p1 * 2**32, exact in arithmetic modulo 2**64.
    """
    dtype, pairs_an_order = mixes.dtype.type, primes.shape[1] // 2
    shift = dtype(2**32)
    low_primes, high_primes = primes.ravel()[0::2], primes.ravel()[1::2]
    high_scales, pair_offsets = high_primes * shift, offsets[0::2] + offsets[1::2] * shift
    block_tokens = min(BLOCK_TOKENS, mixes.shape[1])
    all_packed = np.empty((block_tokens, pair_offsets.size), dtype)
    for start in range(0, mixes.shape[1], block_tokens):
        block = mixes[:, start : start + block_tokens]
        packed = all_packed[: block.shape[1]]
        low, high = np.empty((2, block.shape[1]), dtype)
        for order, mix in enumerate(block):
            both = mix * (shift + dtype(1))
            for pair in range(order * pairs_an_order, (order + 1) * pairs_an_order):
                np.floor_divide(mix, low_primes[pair], out=low)
                low *= low_primes[pair]
                np.floor_divide(mix, high_primes[pair], out=high)
                high *= high_scales[pair]
                low += high
                np.subtract(both, low, out=low)
                np.add(low, pair_offsets[pair], out=packed[:, pair])
        out[start : start + block_tokens] = packed.view(np.uint32)


def _fill_columns(
    mixes: NDArray[np.integer], primes: NDArray[np.integer], offsets: NDArray[np.integer], out: NDArray[np.int64]
) -> None:
    """Compute a column at a time, for tables and heads that do not fit into pairs."""
    quotient = np.empty(mixes.shape[1], mixes.dtype)
    for column, offset in enumerate(offsets):
        order, head = divmod(column, primes.shape[1])
        np.floor_divide(mixes[order], primes[order, head], out=quotient)
        quotient *= primes[order, head]
        np.subtract(mixes[order], quotient, out=quotient)
        np.add(quotient, offset, out=out[:, column].view(mixes.dtype))

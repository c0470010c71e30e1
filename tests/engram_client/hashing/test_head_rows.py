"""The rows of every head, for as few and as many tokens as take another way through them."""

from __future__ import annotations

import numpy as np
import pytest

from engram_client.hashing.head_rows import BROADCAST_TOKENS, head_rows

PRIMES = np.array([[16_000_057, 16_000_061, 3], [2, 2_147_483_647, 9_223_372_036_854_775_783]])
OFFSETS = np.array([0, 16_000_057, 32_000_118, 32_000_121, 32_000_123, 0])
INT64 = np.iinfo(np.int64)


@pytest.mark.parametrize("tokens", [0, 1, BROADCAST_TOKENS, BROADCAST_TOKENS + 1, 8192, 8193, 20_000])
@pytest.mark.parametrize("least", [0, INT64.min], ids=["no mix is negative", "some mixes are negative"])
def test_each_row_is_the_floored_remainder_and_the_offset(tokens: int, least: int) -> None:
    mixes = np.random.default_rng(tokens).integers(least, INT64.max, (2, tokens), endpoint=True)
    if tokens > 1:
        mixes[:, :2] = least, INT64.max
    expected = [[int(m) % int(p) for m, heads in zip(mix, PRIMES, strict=True) for p in heads] for mix in mixes.T]

    rows = head_rows(mixes, PRIMES, OFFSETS)

    assert rows.dtype == np.int64
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, np.array(expected, dtype=np.int64).reshape(tokens, 6) + OFFSETS)


def test_one_negative_mix_among_many_is_taken_as_it_is() -> None:
    mixes = np.full((2, 5000), 7)
    mixes[1, 4321] = -1

    rows = head_rows(mixes, PRIMES, OFFSETS)

    np.testing.assert_array_equal(rows[4321] - OFFSETS, [7, 7, 1, 1, 2_147_483_646, 9_223_372_036_854_775_782])

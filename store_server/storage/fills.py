"""Made-up rows for `create`: ones that can be checked by formula, and random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_WORD_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: neighbouring words look unrelated
_PIECE_BYTES = 1 << 20


def index_rows(rows: NDArray[np.int64], row_bytes: int) -> NDArray[np.uint8]:
    """Return the content of rows by number, (n,) int64 to (n, row_bytes) uint8.

    The 64-bit little-endian word k of row i is (i + k * 0x9E3779B97F4A7C15) mod 2^64; the last word is cut.
    """
    words = np.arange(-(-row_bytes // 8), dtype=np.uint64) * _WORD_STEP
    values = (rows.astype(np.uint64)[:, None] + words).astype("<u8", copy=False)  # (n, words)
    return values.view(np.uint8)[:, :row_bytes]


def index_pieces(num_rows: int, row_bytes: int) -> Iterator[NDArray[np.uint8]]:
    """Yield all `index_rows` of a table in order, about 1 MiB at a time."""
    for first, count in _pieces(num_rows, row_bytes):
        yield index_rows(np.arange(first, first + count), row_bytes)


def random_pieces(num_rows: int, row_bytes: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield random rows, the same for the same seed and row_bytes, about 1 MiB at a time."""
    for first, count in _pieces(num_rows, row_bytes):
        generator = np.random.default_rng([seed, first])
        yield np.frombuffer(generator.bytes(count * row_bytes), np.uint8).reshape(count, row_bytes)


def _pieces(num_rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield first row and number of rows of each piece."""
    step = max(1, _PIECE_BYTES // row_bytes)
    for first in range(0, num_rows, step):
        yield first, min(step, num_rows - first)

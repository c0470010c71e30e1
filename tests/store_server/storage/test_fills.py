from __future__ import annotations

import numpy as np
import pytest

from store_server.storage.fills import index_pieces, index_rows, random_pieces


def index_row(row: int, row_bytes: int) -> bytes:
    """The formula in Python's own integers."""
    words = ((row + word * 0x9E3779B97F4A7C15) % 2**64 for word in range(row_bytes // 8 + 1))
    return b"".join(word.to_bytes(8, "little") for word in words)[:row_bytes]


@pytest.mark.parametrize("row_bytes", [1, 7, 8, 9, 264, 4096])
def test_index_rows_follow_the_formula(row_bytes: int) -> None:
    rows = [0, 1, 255, 256, 2**31, 2**32 + 5, 2**62]

    found = index_rows(np.array(rows, np.int64), row_bytes)

    assert [row.tobytes() for row in found] == [index_row(row, row_bytes) for row in rows]


def test_index_pieces_are_the_whole_table_in_order() -> None:
    table = np.concatenate(list(index_pieces(9_001, 264)))

    assert table.shape == (9_001, 264)
    assert [row.tobytes() for row in table[::999]] == [index_row(row, 264) for row in range(0, 9_001, 999)]


def test_random_rows_depend_on_the_seed_alone() -> None:
    first, again, other = (np.concatenate(list(random_pieces(9_000, 264, seed))) for seed in (1, 1, 2))

    assert first.shape == (9_000, 264)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_shorter_random_table_begins_like_a_longer_one() -> None:
    short, long = (np.concatenate(list(random_pieces(num_rows, 264, 1))) for num_rows in (5_000, 9_000))

    assert np.array_equal(short, long[:5_000])

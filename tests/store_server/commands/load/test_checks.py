"""Wrong rows are found, and what was not compared is not said to be."""

import contextlib

import numpy as np
import pytest
from support.rows import random_rows
from support.tables import write_table

from store_server.commands.load.checks import Check, row_check
from store_server.storage import VersionNotFound

STEP = 0x9E3779B97F4A7C15


def index_row(row, row_bytes):
    words = b"".join(((row + k * STEP) % 2**64).to_bytes(8, "little") for k in range(row_bytes // 8 + 1))
    return np.frombuffer(words[:row_bytes], np.uint8)


@pytest.fixture
def check_of():
    with contextlib.ExitStack() as opened:
        yield lambda kind, **how: opened.enter_context(open_check(kind, **how))


def open_check(kind, **how):
    return row_check(kind, **{"row_bytes": 20, "root": None, "table": "t", "version": "", **how})


@pytest.mark.parametrize("kind", [Check.index, Check.root])
def test_every_bit_of_every_row_is_compared(kind, tmp_path, check_of):
    ids = np.array([5, 0, 7, 5])
    rows = np.stack([index_row(row, 20) for row in range(9)])
    version = write_table(tmp_path / "root", "t", rows)
    check = check_of(kind, root=tmp_path / "root", version=version)

    for place in (0, 9, 19):
        fetched = rows[ids]
        fetched[2, place] ^= 0x80
        compared = check.compare(ids, fetched)
        assert (compared.num_rows, compared.wrong.tolist()) == (4, [7])
    assert check.compare(ids, rows[ids]).wrong.tolist() == []


def test_a_copy_of_another_version_is_refused(tmp_path, check_of):
    write_table(tmp_path / "root", "t", random_rows(9, 20))

    with pytest.raises(VersionNotFound):
        check_of(Check.root, root=tmp_path / "root", version="0" * 32)


def test_rows_that_come_again_must_be_what_they_were(check_of):
    rows = random_rows(9, 20)
    check = check_of(Check.repeats)

    first = check.compare(np.array([1, 2, 3]), rows[[1, 2, 3]])
    again = check.compare(np.array([3, 4, 1]), rows[[3, 4, 1]])
    changed = check.compare(np.array([4, 5]), rows[[5, 5]])

    assert (first.num_rows, again.num_rows, changed.num_rows) == (0, 2, 1)
    assert (first.wrong.size, again.wrong.size, changed.wrong.tolist()) == (0, 0, [4])


def test_repeats_within_a_fetch_must_be_alike(check_of):
    rows = random_rows(9, 20)

    compared = check_of(Check.repeats).compare(np.array([6, 6, 6]), rows[[6, 7, 6]])

    assert (compared.num_rows, compared.wrong.tolist()) == (2, [6])


def test_rows_that_share_a_place_in_memory_are_not_taken_for_each_other(check_of):
    rows = random_rows(9, 20)
    far = 2**16
    check = check_of(Check.repeats)

    for _ in range(3):
        assert check.compare(np.array([1, far + 1, 2 * far + 1]), rows[[1, 2, 3]]).wrong.size == 0
    assert check.compare(np.array([2 * far + 1]), rows[[4]]).wrong.tolist() == [2 * far + 1]


def test_no_check_claims_nothing(check_of):
    assert check_of(Check.none).compare(np.arange(4), random_rows(4, 20)).num_rows == 0
    assert Check.none.said == "NOT CHECKED"

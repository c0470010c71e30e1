"""Which rows two versions differ in, whatever holds them, and which are read to find out; checked against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.parts import make_part, manifest_of
from support.patches import patch_table, with_rows
from support.rows import random_rows

from store_server.storage import DataRoot, RowsNotHeld, verify
from store_server.storage.digests import block_digest
from store_server.storage.stored_version import StoredVersion
from store_server.storage.version_diff import ComparedRows, compared_rows

BLOCK_ROWS = 4_095
TABLE = random_rows(3 * BLOCK_ROWS + 100, 264)
IDS = [2 * BLOCK_ROWS, 3 * BLOCK_ROWS + 99, 7]
CHANGED = with_rows(TABLE, IDS, TABLE[[1, 2, 3]])


def stored(root: Path, version: str | None = None) -> StoredVersion:
    data_root = DataRoot.open(root)
    return data_root.stored_version("t", version or data_root.current_version("t"))


def changed(found: list[ComparedRows]) -> list[int]:
    assert all(one.end == other.first for one, other in pairwise(found))
    return np.concatenate([rows.changed for rows in found]).tolist()


@pytest.mark.parametrize("new", ["mmap", "lmdb", "safetensors"])
@pytest.mark.parametrize("old", ["mmap", "lmdb", "safetensors"])
def test_rows_that_differ_are_found_whatever_holds_the_versions(
    tmp_path: Path, publish: Callable[..., str], old: str, new: str
) -> None:
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
    publish(tmp_path / "one" / "root", "t", TABLE, backend=old)
    publish(tmp_path / "other" / "root", "t", CHANGED, backend=new)

    found = list(compared_rows(stored(tmp_path / "one" / "root"), stored(tmp_path / "other" / "root")))

    assert changed(found) == sorted(IDS)
    have_digests = "safetensors" not in (old, new)
    assert [rows.were_read for rows in found] == [True, not have_digests, True, True]


def test_a_checkpoint_that_was_verified_is_compared_by_its_digests(root: Path, publish: Callable[..., str]) -> None:
    first = publish(root, "t", TABLE, backend="safetensors")
    list(verify(DataRoot.open(root), "t", first))
    publish(root, "t", CHANGED)

    found = list(compared_rows(stored(root, first), stored(root)))

    assert changed(found) == sorted(IDS)
    assert [rows.were_read for rows in found] == [True, False, True, True]


def test_a_patch_differs_from_its_base_in_the_rows_that_it_really_changed(
    root: Path, publish: Callable[..., str]
) -> None:
    base = publish(root, "t", TABLE)
    table = TABLE

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sets(st.integers(0, len(TABLE) - 1), min_size=1, max_size=5), st.booleans(), st.integers(1, 1_000))
    def check(ids: set[int], is_equal: bool, seed: int) -> None:
        nonlocal table
        before, rows = stored(root), random_rows(len(ids), 264, seed=seed)
        rows[0] = table[min(ids)] if is_equal else rows[0]
        after = with_rows(table, sorted(ids), rows)

        patch_table(root, "t", sorted(ids), rows)

        assert changed(list(compared_rows(before, stored(root)))) == np.flatnonzero((table != after).any(1)).tolist()
        from_base = list(compared_rows(stored(root, base), stored(root)))
        assert changed(from_base) == np.flatnonzero((after != TABLE).any(1)).tolist()
        table = after

    check()


def test_versions_cut_into_other_blocks_are_compared_row_by_row(root: Path, publish: Callable[..., str]) -> None:
    first = publish(root, "t", TABLE)
    publish(root, "t", CHANGED)
    old = stored(root, first)
    digests = tuple(block_digest(TABLE[start : start + 1_000]) for start in range(0, len(TABLE), 1_000))
    old = replace(old, manifest=replace(old.manifest, block_rows=1_000, block_digests=digests))

    assert changed(list(compared_rows(old, stored(root)))) == sorted(IDS)
    assert changed(list(compared_rows(stored(root), old))) == sorted(IDS)


@pytest.mark.parametrize("num_rows", [1, BLOCK_ROWS, 2 * BLOCK_ROWS + 1, len(TABLE) - 1])
def test_rows_that_both_versions_have_are_compared(root: Path, publish: Callable[..., str], num_rows: int) -> None:
    long = publish(root, "t", TABLE)
    publish(root, "t", CHANGED[:num_rows])

    found = list(compared_rows(stored(root, long), stored(root)))

    assert (found[0].first, found[-1].end) == (0, num_rows)
    assert changed(found) == [row for row in sorted(IDS) if row < num_rows]
    assert changed(list(compared_rows(stored(root), stored(root, long)))) == changed(found)


def test_blocks_that_are_not_here_are_needed_only_where_digests_differ(
    root: Path, tmp_path: Path, publish: Callable[..., str]
) -> None:
    publish(tmp_path / "whole", "t", TABLE)
    make_part(root, "t", TABLE, manifest_of(tmp_path / "whole", "t"), [0, 2, 3])
    make_part(tmp_path / "less", "t", TABLE, manifest_of(tmp_path / "whole", "t"), [0, 1])
    publish(tmp_path / "new", "t", CHANGED)

    assert changed(list(compared_rows(stored(root), stored(tmp_path / "new")))) == sorted(IDS)
    with pytest.raises(RowsNotHeld, match="row 8190 "):
        list(compared_rows(stored(tmp_path / "less"), stored(tmp_path / "new")))

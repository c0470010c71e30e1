from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.patches import patch_table, with_rows
from support.rows import random_rows
from support.tables import write_table

from store_server.storage import DataRoot

TABLE = random_rows(3 * 4_095, 264)
NEW = random_rows(30, 264, seed=1)


def test_the_rows_that_a_patch_really_changed_are_counted_and_written(
    run: Callable, root: Path, tmp_path: Path
) -> None:
    base = write_table(root, "t", TABLE)
    ids = [9_000, 9_001, 9_050]
    patch_table(root, "t", ids, np.concatenate([NEW[:1], TABLE[9_001:9_002], NEW[1:2]]))  # one is as it was

    shown = run("diff", root, "t", base, "--ids", tmp_path / "ids")
    described = json.loads(run("diff", root, "t", base, "--json").out)

    assert shown.status == 0
    assert "changed  2 of 12,285 rows\n" in shown.out
    assert "bytes    528 changed, 2,162,160 read\n" in shown.out
    assert "rows     9,000, 9,050\n" in shown.out
    assert np.load(tmp_path / "ids").tolist() == [9_000, 9_050]
    assert np.load(tmp_path / "ids").dtype == np.int64
    assert described["new"] == DataRoot.open(root).current_version("t")
    assert (described["rows_changed"], described["first_ranges"]) == (2, [[9_000, 9_001], [9_050, 9_051]])
    assert described["share"] == 2 / 12_285


def test_only_the_first_ranges_are_printed(run: Callable, root: Path) -> None:
    base = write_table(root, "t", TABLE)
    ids = [*range(4_090, 4_100), *range(5_000, 5_040, 2)]
    write_table(root, "t", with_rows(TABLE, ids, NEW))

    shown = run("diff", root, "t", base)

    assert "rows     4,090-4,099, 5,000, 5,002, " in shown.out
    assert shown.out.endswith("5,016, ...\n")


def test_rows_added_and_gone_and_another_fingerprint_are_said(run: Callable, root: Path) -> None:
    long = write_table(root, "t", TABLE, fingerprint="a")
    short = write_table(root, "t", TABLE[:9_000], fingerprint="b")

    assert "gone     3,285 rows at the end\nnote     the fingerprints differ" in run("diff", root, "t", long).out
    assert "added    3,285 rows at the end\n" in run("diff", root, "t", short, long).out
    assert "changed  0 of 9,000 rows\n" in run("diff", root, "t", short, long).out


def test_a_version_is_equal_to_itself(run: Callable, root: Path) -> None:
    version = write_table(root, "t", TABLE)

    shown = run("diff", root, "t", version, version)

    assert "changed  0 of 12,285 rows\nshare    0\nbytes    0 changed, 0 read\nrows     none\n" in shown.out


def test_versions_with_other_rows_are_not_compared(run: Callable, root: Path) -> None:
    first = write_table(root, "t", TABLE)
    write_table(root, "t", TABLE[:, :8].copy())
    narrow = run("diff", root, "t", first)
    write_table(root, "t", TABLE, row_format="float32")
    other = run("diff", root, "t", first)
    missing = run("diff", root, "t", "0" * 32)

    assert "row_bytes is 264 in version" in narrow.error
    assert "row_format is '' in version" in other.error
    assert "has no version" in missing.error
    assert missing.error.endswith("; `engram-store inspect` lists its versions")


def test_a_file_of_ids_in_no_directory_is_refused_before_anything_is_read(
    run: Callable, root: Path, tmp_path: Path
) -> None:
    refused = run("diff", root, "t", "old", "--ids", tmp_path / "none" / "ids.npy")

    assert f"{tmp_path / 'none'}, which is no directory" in " ".join(refused.err.replace("│", " ").split())

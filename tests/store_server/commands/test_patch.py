from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.patches import with_rows
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import formats
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot

TABLE = random_rows(3 * 4_095, 264)
NEW = random_rows(3, 264, seed=1)
IDS = [9_000, 3, 4_094]
FLOATS = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)


@pytest.fixture
def patch(run: Callable, root: Path, tmp_path: Path) -> Callable:
    """Give row numbers and rows to `engram-store patch`."""

    def patch_table(ids: object, rows: object, *options: object) -> object:
        np.save(tmp_path / "ids.npy", np.asarray(ids))
        np.save(tmp_path / "rows.npy", np.asarray(rows))
        return run("patch", root, "t", "--ids", tmp_path / "ids.npy", "--rows", tmp_path / "rows.npy", *options)

    return patch_table


async def test_patched_rows_are_served_over_grpc_and_from_the_file_and_all_others_are_the_bases(
    patch: Callable, run: Callable, root: Path
) -> None:
    base = write_table(root, "t", TABLE)
    ids, rows, expected = IDS[:1], NEW[:1], with_rows(TABLE, IDS[:1], NEW[:1])
    async with (
        running(ServerConfig(root=root, listen="127.0.0.1:0", reload_seconds=0.01)) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
    ):
        old = await store.table("t")
        assert old.version == base
        patched = await asyncio.to_thread(patch, ids, rows)
        version = DataRoot.open(root).current_version("t")
        new = await store.table("t", version=version)

        assert np.array_equal(await new.fetch(np.arange(len(TABLE))), expected)
        assert np.array_equal(await old.fetch(np.arange(len(TABLE))), TABLE)

        dropped = await asyncio.to_thread(run, "drop", root, "t", base)
        assert np.array_equal(await new.fetch(np.arange(len(TABLE))), expected)
    with engram_client.connect_blocking(f"file://{root}") as local:
        assert np.array_equal(local.table("t").fetch(np.arange(len(TABLE))), expected)
    assert (patched.status, dropped.status) == (0, 0)
    assert f"version  {version}\nchanged  1 of the 1 rows given, in 1 blocks\n" in patched.out


def test_what_a_patch_cost_and_changed_is_said(patch: Callable, run: Callable, root: Path) -> None:
    base = write_table(root, "t", TABLE)

    first = patch(IDS[:1], NEW[:1])
    again = patch(IDS[:1], NEW[:1])
    described = run("inspect", root, "t")
    back = patch(IDS, TABLE[IDS], "--base", base)

    assert f"base     {base}\n" in first.out
    assert "bytes    1,081,080 written\n" in first.out
    assert "changed  0 of the 1 rows given, in 0 blocks\nbytes    0 written\n" in again.out
    assert again.out.endswith(" is already current\n")
    assert "1 blocks, in " in described.out
    assert f"version  {base}\nchanged  0 of the 3 rows given" in back.out


def test_floats_are_encoded_in_the_row_format_of_the_table(patch: Callable, root: Path) -> None:
    for row_format in ("float32", "float16", "bfloat16", "float8_e4m3", "float8_e4m3*0x1.8p-7"):
        write_table(root, "t", formats.encode(FLOATS, row_format), row_format=row_format)

        outcome = patch([7, 2], np.array([[0.5, 0.25, -0.5, 0], [1, 1, 1, 1]]))

        assert outcome.status == 0, outcome.err
        expected = with_rows(FLOATS, [7, 2], [[0.5, 0.25, -0.5, 0], [1, 1, 1, 1]])
        with engram_client.connect_blocking(f"file://{root}") as store:
            table = store.table("t")
            assert table.row_format == row_format
            assert np.array_equal(table.fetch(np.arange(10)), formats.encode(expected, row_format))


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        ([3, 5, 3], NEW, "id 3 (number 2 of the ids) is there already as number 0"),
        ([3, 12_285, 99_999], NEW, "id 12285 (number 1 of the ids) is no row: the table has 0 to 12284"),
        ([3, -1, 5], NEW, "id -1 (number 1 of the ids) is no row"),
        (np.array([3, 2**64 - 1, 5], np.uint64), NEW, "id 18446744073709551615 (number 1 of the ids) is no row"),
        ([3.0, 5.0, 6.0], NEW, "ids must be whole numbers (n,), at least one, got float64 (3,)"),
        ([[3, 5, 6]], NEW, "ids must be whole numbers (n,), at least one, got int64 (1, 3)"),
        (np.empty(0, np.int64), NEW, "at least one, got int64 (0,)"),
        ([3, 5], NEW, "rows.npy has 3 rows, "),
        ([3, 5, 6], NEW[:, :263], "expected uint8, 264 bytes a row, found uint8, 263 bytes a row"),
        ([3, 5, 6], NEW.view("<i8"), "expected uint8, 264 bytes a row, found int64, 264 bytes a row"),
        (
            [3, 5, 6],
            NEW.view("<f8"),
            "the table has no row format to encode it in: give uint8, 264 bytes a row",
        ),
        ([3, 5, 6], NEW[0], "expected a 2-D array (rows, width)"),
    ],
)
def test_a_patch_that_is_not_right_is_refused_in_one_line_and_what_was_current_stays(
    patch: Callable, root: Path, ids: object, rows: object, message: str
) -> None:
    base = write_table(root, "t", TABLE)

    refused = patch(ids, rows)

    assert refused.status == 1
    assert message in refused.error
    assert DataRoot.open(root).versions("t") == [base]
    assert DataRoot.open(root).current_version("t") == base


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 3, 4], [1, 2, np.nan, 4]], "id 2 (number 1 of the rows), column 2 is nan: only finite values"),
        ([[1, np.inf, 3, 4], [1, 2, 3, 4]], "id 7 (number 0 of the rows), column 1 is inf: only finite values"),
        ([[1, 2, 3, 4], [1e6, 2, 3, 4]], "id 2 (number 1 of the rows), column 0 is 1000000.0: float16 "),
        ([[1.0, 2, 3], [1, 2, 3]], "3 values a row, which are 6 bytes as float16; a row of the table has 8"),
    ],
)
def test_values_that_the_row_format_does_not_hold_are_named(
    patch: Callable, root: Path, rows: list, message: str
) -> None:
    base = write_table(root, "t", formats.encode(FLOATS, "float16"), row_format="float16")

    refused = patch([7, 2], np.array(rows, np.float32))

    assert message in refused.error
    assert DataRoot.open(root).versions("t") == [base]


def test_files_that_are_no_arrays_are_refused(run: Callable, root: Path, tmp_path: Path) -> None:
    write_table(root, "t", TABLE)
    np.save(tmp_path / "ids.npy", np.array([1]))
    np.save(tmp_path / "rows.npy", NEW[:1])
    np.savez(tmp_path / "both.npz", NEW)
    (tmp_path / "text.npy").write_text("1, 2, 3")

    def refused(ids: str, rows: str) -> str:
        return run("patch", root, "t", "--ids", tmp_path / ids, "--rows", tmp_path / rows).error

    assert "no such file" in refused("missing.npy", "rows.npy")
    assert "not a .npy file of row numbers" in refused("text.npy", "rows.npy")
    assert "an archive of several arrays" in refused("both.npz", "rows.npy")
    assert "no such file" in refused("ids.npy", "missing.npy")
    assert "not a .npy file" in refused("ids.npy", "text.npy")
    assert "come as .npy" in refused("ids.npy", "both.npz")

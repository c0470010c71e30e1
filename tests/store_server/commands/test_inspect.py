from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from support.cold_pages import forget_pages

from store_server.commands.inspect import parse_rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", [0]), ("0,5,10-12", [0, 5, 10, 11, 12]), ("3-3", [3]), ("99, 0", [99, 0]), ("1,1", [1, 1])],
)
def test_rows_are_numbers_and_ranges(text: str, expected: list[int]) -> None:
    assert parse_rows(text, 100).tolist() == expected


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "5-3", "100", "0-100", "1.5", "0,,1", "²", "9" * 5000])
def test_other_rows_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_rows(text, 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5-1", "5-1 runs backwards; write 1-5"),
        ("ten", "--rows: 'ten' is not a number"),
        ("1, 2-", "--rows: '2-' is not a range such as 10-12"),
        ("9-12", "--rows: the table has rows 0 to 9, got 9-12"),
    ],
)
def test_what_is_wrong_with_rows_is_said_by_name(text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=re.escape(message)):
        parse_rows(text, 10)


def test_a_flood_of_rows_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="at most 10,000 rows"):
        parse_rows("0-9999,0", 1 << 40)


def test_a_table_is_described(run: Callable, root: Path) -> None:
    run("create", root, "t", "--rows", 9_000, "--row-bytes", 264, "--fingerprint", "abc")

    described = run("inspect", root, "t").out

    assert described.splitlines()[0].split() == ["state", "ok"]
    for value in ("(current)", "9,000", "264", "abc", "mmap", "3 of 4,095 rows", "rows.bin"):
        assert value in described


def test_rows_are_dumped_as_bytes(run: Callable, root: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"".join(b"row %02d of the table." % row for row in range(20)))
    run("import", root, "t", tmp_path / "rows", "--row-bytes", 20)

    shown = run("inspect", root, "t", "--rows", "19,0")

    assert shown.out.splitlines() == [
        "row 19",
        "  00000000  72 6f 77 20 31 39 20 6f 66 20 74 68 65 20 74 61  |row 19 of the ta|",
        "  00000010  62 6c 65 2e                                      |ble.|",
        "row 0",
        "  00000000  72 6f 77 20 30 30 20 6f 66 20 74 68 65 20 74 61  |row 00 of the ta|",
        "  00000010  62 6c 65 2e                                      |ble.|",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_decoded_by_their_format(run: Callable, root: Path, tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.5, -2], [1, 1024]], dtype))
    run("import", root, "t", tmp_path / "a.npy")

    assert run("inspect", root, "t", "--rows", "0-1", "--decode").out == "row 0\n  0.5 -2\nrow 1\n  1 1024\n"


@pytest.mark.parametrize(("row_format", "message"), [("", "no row format"), ("x-runes", "'x-runes' is unknown")])
def test_rows_of_unknown_meaning_are_not_decoded(run: Callable, root: Path, row_format: str, message: str) -> None:
    run("create", root, "t", "--rows", 2, "--row-bytes", 8, "--row-format", row_format)

    refused = run("inspect", root, "t", "--rows", "0", "--decode")

    assert (refused.status, refused.out) == (1, "")
    assert message in refused.error


def test_an_unknown_table_or_version_is_an_error(run: Callable, root: Path) -> None:
    run("create", root, "t", "--rows", 2, "--row-bytes", 8)

    assert "no table 'other'" in run("inspect", root, "other").error
    assert "has no version '1234'" in run("inspect", root, "t", "--version", "1234").error
    assert run("inspect", root, "t", "--version", "1234").out == ""
    assert "rows 0 to 1, got 2" in run("inspect", root, "t", "--rows", "2").error


def test_it_is_said_how_much_of_a_table_lies_in_ram(run: Callable, root: Path) -> None:
    run("create", root, "t", "--rows", 50_000, "--row-bytes", 264)

    def resident() -> str:
        return next(line for line in run("inspect", root, "t").out.splitlines() if line.startswith("resident "))

    assert resident().split(maxsplit=1)[1] == "13,200,000 of 13,200,000 bytes (100.0%) in the page cache of this host"
    if forget_pages(root, "t") == 1:
        pytest.skip("this file system keeps its pages; the test needs one on a disk")
    assert "(0.0%)" in resident()


def test_of_a_damaged_table_what_can_be_known_is_printed_before_the_error(run: Callable, root: Path) -> None:
    run("create", root, "t", "--rows", 9_000, "--row-bytes", 264)
    (version,) = (root / "tables" / "t" / "versions").iterdir()

    def keys_and_error() -> tuple[list[str], str]:
        shown = run("inspect", root, "t")
        assert shown.status == 1
        assert re.match(r"state +damaged: ", shown.out)
        return [line.split("  ")[0] for line in shown.out.splitlines()], shown.error

    (version / "rows.bin").unlink()
    without_rows = keys_and_error()
    (version / "table.json").write_text("{")
    without_manifest = keys_and_error()
    version.rename(root / "gone")
    without_version = keys_and_error()

    assert without_rows[0][-3:] == ["backend", "blocks", "data file"]
    assert "the data file is missing" in without_rows[1]
    assert without_manifest[0] == without_version[0] == ["state", "table", "version", "versions"]
    assert "table.json: not JSON" in without_manifest[1]
    assert "has no version" in without_version[1]


@pytest.mark.parametrize(
    ("found", "size", "state"),
    [(100, "100", "the data file has another size"), (None, "none", "the data file is missing")],
)
def test_the_state_of_a_damaged_table_stands_first_and_the_size_at_its_file(
    run: Callable, root: Path, found: int | None, size: str, state: str
) -> None:
    run("create", root, "t", "--rows", 9_000, "--row-bytes", 264)
    path = next(root.rglob("rows.bin"))
    path.unlink() if found is None else os.truncate(path, found)

    shown = run("inspect", root, "t")

    first, *_, last = shown.out.splitlines()
    assert (first, shown.status) == (f"state        damaged: {state}", 1)
    assert last == f"data file    {path} (expected 2,376,000 bytes, found {size})"


def test_values_of_no_rows_are_bad_usage(run: Callable, root: Path) -> None:
    run("create", root, "t", "--rows", 2, "--row-bytes", 8)

    assert (run("inspect", root, "t", "--decode").status, run("inspect", root, "t", "--decode").out) == (2, "")

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_tables_are_listed_with_what_they_are(run: Callable, root: Path) -> None:
    run("create", root, "b", "--rows", 10, "--row-bytes", 264, "--backend", "lmdb", "--row-format", "bfloat16")
    run("create", root, "a/longer-name", "--rows", 1_000, "--row-bytes", 8)

    header, first, second = run("tables", root).out.splitlines()

    columns = [
        "name",
        "rows",
        "row_bytes",
        "bytes",
        "row_format",
        "backend",
        "version",
        "versions",
        "held_bytes",
        "state",
    ]
    assert header.split() == columns
    assert first.split()[:6] == ["a/longer-name", "1,000", "8", "8,000", "-", "mmap"]
    assert second.split()[:6] == ["b", "10", "264", "2,640", "bfloat16", "lmdb"]
    assert header.index("rows") == first.index("1,000") == second.index("10")


def test_tables_are_listed_for_programs_too(run: Callable, root: Path) -> None:
    run("create", root, "t", "--rows", 10, "--row-bytes", 264)

    (line,) = run("tables", root, "--json").out.splitlines()

    assert json.loads(line)["rows"] == 10


def test_a_root_without_tables_is_no_error(run: Callable, root: Path) -> None:
    (root / "tables").mkdir(parents=True)

    listed = run("tables", root)

    assert (listed.status, len(listed.out.splitlines())) == (0, 1)


def test_damaged_tables_are_listed_with_what_is_known_and_what_is_wrong(run: Callable, root: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        run("create", root, name, "--rows", 10, "--row-bytes", 8)
    next((root / "tables" / "a").rglob("table.json")).write_text("{")
    next((root / "tables" / "c").rglob("rows.bin")).write_bytes(b"")
    next((root / "tables" / "d" / "versions").iterdir()).rename(root / "gone")
    (root / "tables" / "e" / "CURRENT").write_text("nonsense")

    listed = run("tables", root)
    for_programs = [json.loads(line) for line in run("tables", root, "--json").out.splitlines()]

    assert listed.status == 1
    cells = [line.split() for line in listed.out.splitlines()[1:]]
    assert [(line[0], line[1], line[-1]) for line in cells] == [
        ("a", "-", "damaged"),
        ("b", "10", "ok"),
        ("c", "10", "damaged"),
        ("d", "-", "damaged"),
        ("e", "-", "damaged"),
    ]
    assert listed.error == "error: damaged: 4 of 5 tables"
    assert all(f"error: table '{name}' " in listed.err for name in "acde")
    assert [(table["name"], table["rows"], table["state"]) for table in for_programs[:2]] == [
        ("a", None, "damaged"),
        ("b", 10, "ok"),
    ]

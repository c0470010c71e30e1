from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_tables_are_listed_with_what_they_are(run: Callable, root: Path) -> None:
    run("create", root, "b", "--rows", 10, "--row-bytes", 264, "--backend", "lmdb", "--row-format", "bfloat16")
    run("create", root, "a/longer-name", "--rows", 1_000, "--row-bytes", 8)

    header, first, second = run("tables", root).out.splitlines()

    assert header.split() == ["name", "rows", "row_bytes", "bytes", "row_format", "backend", "version", "versions"]
    assert first.split()[:6] == ["a/longer-name", "1000", "8", "8000", "-", "mmap"]
    assert second.split()[:6] == ["b", "10", "264", "2640", "bfloat16", "lmdb"]
    assert header.index("rows") == first.index("1000") == second.index("10")


def test_tables_are_listed_for_programs_too(run: Callable, root: Path) -> None:
    run("create", root, "t", "--rows", 10, "--row-bytes", 264)

    (line,) = run("tables", root, "--json").out.splitlines()

    assert json.loads(line)["rows"] == 10


def test_a_root_without_tables_is_no_error(run: Callable, root: Path) -> None:
    (root / "tables").mkdir(parents=True)

    listed = run("tables", root)

    assert (listed.status, len(listed.out.splitlines())) == (0, 1)


def test_a_damaged_table_is_named_and_the_others_are_listed(run: Callable, root: Path) -> None:
    for name in ("a", "b", "c"):
        run("create", root, name, "--rows", 10, "--row-bytes", 8)
    next((root / "tables" / "a").rglob("table.json")).write_text("{")
    next((root / "tables" / "c").rglob("rows.bin")).write_bytes(b"")

    listed = run("tables", root)

    assert listed.status == 1
    assert [line.split()[0] for line in listed.out.splitlines()] == ["name", "b"]
    assert "'a'" in listed.error
    assert "'c'" in listed.error

"""What the commands say of a version that is held in part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.parts import make_part, manifest_of
from support.rows import random_rows
from support.tables import write_table

ROWS = random_rows(2 * 4_095 + 100, 264)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A data root with blocks 1 and 2 of 3."""
    write_table(tmp_path / "whole", "t", ROWS)
    make_part(tmp_path / "part", "t", ROWS, manifest_of(tmp_path / "whole", "t"), [1, 2])
    return tmp_path / "part"


def test_tables_says_that_a_table_is_held_in_part_and_how_much(run: Callable, part: Path) -> None:
    (table,) = [json.loads(line) for line in run("tables", part, "--json").out.splitlines()]

    assert (table["state"], table["bytes"], table["held_bytes"]) == ("part", len(ROWS) * 264, 4_195 * 264)


def test_inspect_says_which_blocks_are_held_and_prints_rows_of_those_only(run: Callable, part: Path) -> None:
    described = run("inspect", part, "t")
    printed, refused = run("inspect", part, "t", "--rows", "4095"), run("inspect", part, "t", "--rows", "4094")

    assert "held         2 of 3 blocks, 1,107,480 of 2,188,560 bytes: 1-2" in described.out
    assert ROWS[4_095, :16].tobytes().hex(" ") in printed.out
    assert (refused.status, "row 4094 of table 't'" in refused.error) == (1, True)


def test_verify_reads_the_blocks_that_are_held(run: Callable, part: Path) -> None:
    verified = run("verify", part)

    assert verified.status == 0
    assert verified.out.split()[3:] == ["2", "of", "3", "blocks", "1,107,480", "bytes"]

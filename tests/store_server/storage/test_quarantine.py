"""A bad block leaves all versions that have it, also where one of them cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.parts import make_part, manifest_of
from support.patches import patch_table
from support.rows import random_rows

from store_server.storage import DataRoot
from store_server.storage.arrivals import begin_arrival
from store_server.storage.block_writer import BlockWriter
from store_server.storage.held_blocks import held_blocks
from store_server.storage.quarantine import quarantine
from store_server.storage.stored_version import StoredVersion

BLOCK_ROWS, NUM_BLOCKS = 4_095, 6
ROWS = random_rows(NUM_BLOCKS * BLOCK_ROWS, 264)
BAD = 3


@pytest.fixture
def base(root: Path, publish: Callable[..., str]) -> StoredVersion:
    version = publish(root, "t", ROWS)
    return DataRoot.open(root).stored_version("t", version)


def spoil(stored: StoredVersion) -> None:
    """Change a byte of block 3."""
    with stored.data_path.open("r+b") as file:
        file.seek(BAD * BLOCK_ROWS * 264)
        file.write(bytes([ROWS[BAD * BLOCK_ROWS, 0] ^ 1]))


def not_held(stored: StoredVersion) -> list[int]:
    return np.flatnonzero(~held_blocks(stored)).tolist()


def test_it_leaves_a_version_that_is_on_its_way_too(
    root: Path, tmp_path: Path, publish: Callable[..., str], base: StoredVersion
) -> None:
    changed = ROWS.copy()
    changed[0] ^= 1
    version = publish(tmp_path / "elsewhere", "t", changed)
    arrival = begin_arrival(DataRoot.open(root), "t", manifest_of(tmp_path / "elsewhere", "t"))
    coming = arrival.stored_version("t", version)
    with BlockWriter(coming) as writer:
        writer.hold_right([(0, NUM_BLOCKS)])
    assert not_held(coming) == [0]
    spoil(base)

    outcome = quarantine(DataRoot.open(root), base, BAD)

    assert outcome == ([base, coming], [])
    assert (not_held(base), not_held(coming)) == ([BAD], [0, BAD])


def test_a_version_of_which_it_cannot_be_written_is_named_and_the_others_are_left(
    root: Path, base: StoredVersion
) -> None:
    one, other = (
        DataRoot.open(root).stored_version("t", patch_table(root, "t", [row], ROWS[-1:]).version) for row in (0, 1)
    )
    for stored in (base, one):
        (stored.directory / "held.json.new").mkdir()  # as unfit for writing as a full disk
    spoil(base)

    outcome = quarantine(DataRoot.open(root), base, BAD)

    assert outcome.left == [other]
    assert {stored.version for stored, _ in outcome.failures} == {base.version, one.version}
    assert "Is a directory" in str(outcome.failures[0][1])
    assert (not_held(base), not_held(one), not_held(other)) == ([], [], [BAD])


def test_a_sound_block_stays_where_it_is(root: Path, base: StoredVersion) -> None:
    patch_table(root, "t", [0], ROWS[-1:])

    assert quarantine(DataRoot.open(root), base, BAD) == ([], [])
    assert not_held(base) == []


def test_parts_without_the_block_are_none_that_left_it(root: Path, tmp_path: Path, base: StoredVersion) -> None:
    make_part(tmp_path / "part", "t", ROWS, manifest_of(root, "t"), [1])
    part = DataRoot.open(tmp_path / "part")

    assert quarantine(part, part.stored_version("t", base.version), BAD) == ([], [])

"""A version on its way shares the file of one that is here: what it has at once, what it costs, what stays right."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.parts import block_bytes, make_part
from support.rows import random_rows

from store_server.storage import DataRoot, Manifest, RowsNotHeld, root_writer, verify
from store_server.storage.arrivals import begin_arrival, place_arrival
from store_server.storage.block_writer import BlockWriter
from store_server.storage.common_blocks import nearest_kin, share_file
from store_server.storage.held_blocks import held_blocks

BLOCK_ROWS, NUM_BLOCKS = 4_095, 8
BLOCK_BYTES = BLOCK_ROWS * 264
ROWS = random_rows(7 * BLOCK_ROWS + 100, 264)
Publish = Callable[..., str]


def with_changed(rows: NDArray[np.uint8], *blocks: int, by: int = 1) -> NDArray[np.uint8]:
    """Rows of which one in each of these blocks is another."""
    changed = rows.copy()
    changed[np.array(blocks) * BLOCK_ROWS + 7] += np.uint8(by)
    return changed


@pytest.fixture
def manifest_of_rows(tmp_path: Path, publish: Publish) -> Callable[[NDArray[np.uint8]], Manifest]:
    """Import rows elsewhere; returns what the version is."""

    def manifest(rows: NDArray[np.uint8]) -> Manifest:
        root = tmp_path / "elsewhere"
        version = publish(root, "t", rows)
        return DataRoot.open(root).manifest("t", version)

    return manifest


def begin(root: Path, manifest: Manifest) -> list[int]:
    """Begin the arrival of a version; returns which blocks it has without a source."""
    arrival = begin_arrival(DataRoot.open(root), "t", manifest)
    stored = arrival.stored_version("t", manifest.version)
    assert not held_blocks(stored).any()
    with BlockWriter(stored) as writer:
        writer.hold_right([(0, manifest.num_blocks)])
    return np.flatnonzero(held_blocks(stored)).tolist()


def finish(root: Path, manifest: Manifest, rows: NDArray[np.uint8], blocks: list[int]) -> None:
    arrival = begin_arrival(DataRoot.open(root), "t", manifest)
    with BlockWriter(arrival.stored_version("t", manifest.version)) as writer:
        writer.store({block: block_bytes(rows, BLOCK_ROWS, block) for block in blocks})
    place_arrival(DataRoot.open(root), "t", manifest.version)


def assert_rows(root: Path, version: str, rows: NDArray[np.uint8], blocks: list[int] | None = None) -> None:
    """The version has these blocks (None: all), and they are `rows`, by both ways of reading."""
    numbers = np.arange(len(rows))
    if blocks is not None:
        numbers = numbers[np.isin(numbers // BLOCK_ROWS, blocks)]
    list(verify(DataRoot.open(root), "t", version))
    backend = DataRoot.open(root).open_backend("t", version)
    out = np.empty((len(numbers), 264), np.uint8)
    backend.gather(numbers, out)
    assert np.array_equal(out, rows[numbers])
    missing = np.flatnonzero(~np.isin(np.arange(len(rows)) // BLOCK_ROWS, numbers // BLOCK_ROWS))[:1]
    if len(missing):
        with pytest.raises(RowsNotHeld):
            backend.gather(missing, out[:1])
    backend.close()


def disk_bytes(root: Path) -> int:
    """What all files take, each counted once."""
    files = {(status.st_ino): status.st_blocks * 512 for status in map(os.stat, root.rglob("*.bin"))}
    return sum(files.values())


def test_a_version_with_two_changed_blocks_has_all_others_at_once_and_takes_the_room_of_two(
    tmp_path, manifest_of_rows
) -> None:
    root, old, changed = tmp_path / "root", manifest_of_rows(ROWS), with_changed(ROWS, 1, 7)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    before, new = disk_bytes(root), manifest_of_rows(changed)

    assert begin(root, new) == [0, 2, 3, 4, 5, 6]
    finish(root, new, changed, [1, 7])

    assert_rows(root, new.version, changed)
    assert_rows(root, old.version, ROWS)
    assert disk_bytes(root) - before < 2 * BLOCK_BYTES


def test_of_a_version_held_in_part_only_that_part_is_there_and_the_rest_may_come_into_the_same_file(
    tmp_path, manifest_of_rows
) -> None:
    root, old, changed = tmp_path / "root", manifest_of_rows(ROWS), with_changed(ROWS, 1)
    make_part(root, "t", ROWS, old, [1, 2, 3])
    new = manifest_of_rows(changed)

    assert begin(root, new) == [2, 3]
    finish(root, new, changed, [1, 5])

    assert_rows(root, new.version, changed, [1, 2, 3, 5])
    assert_rows(root, old.version, ROWS, [1, 2, 3])


def test_a_block_that_the_other_version_lets_go_stays_with_this_one(tmp_path, manifest_of_rows) -> None:
    root, old, changed = tmp_path / "root", manifest_of_rows(ROWS), with_changed(ROWS, 1)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    new = manifest_of_rows(changed)
    begin(root, new)
    finish(root, new, changed, [1])
    with BlockWriter(DataRoot.open(root).stored_version("t", old.version)) as writer:
        writer.let_go([(0, NUM_BLOCKS)])
        writer.give_back([(0, NUM_BLOCKS)])

    assert_rows(root, new.version, changed)


def test_a_version_stays_whole_when_the_one_it_shares_with_is_dropped(tmp_path, manifest_of_rows) -> None:
    root, old, changed = tmp_path / "root", manifest_of_rows(ROWS), with_changed(ROWS, 1)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    new = manifest_of_rows(changed)
    begin(root, new)
    finish(root, new, changed, [1])

    with root_writer(root) as writer:
        writer.make_current("t", new.version)
        writer.drop("t", old.version)

    assert_rows(root, new.version, changed)


def test_a_third_version_takes_nothing_from_beside_the_file_of_the_second(tmp_path, manifest_of_rows) -> None:
    """What the second has in its own changed blocks is not in the shared file, and what lies there is the first's."""
    root, old, second = tmp_path / "root", manifest_of_rows(ROWS), with_changed(ROWS, 1, 2)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    begin(root, manifest_of_rows(second))
    finish(root, manifest_of_rows(second), second, [1, 2])
    with root_writer(root) as writer:
        writer.make_current("t", manifest_of_rows(second).version)
        writer.drop("t", old.version)
    third = with_changed(second, 5)
    new = manifest_of_rows(third)

    assert begin(root, new) == [0, 3, 4, 6, 7]
    finish(root, new, third, [1, 2, 5])

    assert_rows(root, new.version, third)
    assert_rows(root, manifest_of_rows(second).version, second)


def test_of_several_versions_the_nearest_is_taken(tmp_path, manifest_of_rows) -> None:
    root, far, near = tmp_path / "root", with_changed(ROWS, 0, 1, 2, 3), with_changed(ROWS, 5, 6)
    for rows in (far, near):
        make_part(root, "t", rows, manifest_of_rows(rows), list(range(NUM_BLOCKS)))

    assert begin(root, manifest_of_rows(with_changed(near, 6))) == [0, 1, 2, 3, 4, 5, 7]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(with_changed(ROWS, 0, 1, 2, 3, 4), id="most blocks differ"),
        pytest.param(ROWS[:-1], id="another number of rows"),
        pytest.param(ROWS.reshape(-1, 132), id="another width"),
    ],
)
def test_a_version_with_little_in_common_has_a_file_of_its_own(tmp_path, manifest_of_rows, other) -> None:
    root = tmp_path / "root"
    make_part(root, "t", ROWS, manifest_of_rows(ROWS), list(range(NUM_BLOCKS)))
    new = manifest_of_rows(other)

    assert nearest_kin(DataRoot.open(root), "t", new) is None
    assert begin(root, new) == []


def test_the_same_rows_of_another_meaning_need_no_block_at_all(tmp_path, publish) -> None:
    root = tmp_path / "root"
    publish(root, "t", ROWS)
    elsewhere = tmp_path / "elsewhere"
    version = publish(elsewhere, "t", ROWS, row_format="int8")
    new = DataRoot.open(elsewhere).manifest("t", version)

    assert begin(root, new) == list(range(NUM_BLOCKS))
    finish(root, new, ROWS, [])

    assert_rows(root, new.version, ROWS)


def test_where_no_file_gets_a_second_name_nothing_is_shared(tmp_path, manifest_of_rows) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no second names here")

    root, old = tmp_path / "root", manifest_of_rows(ROWS)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    kin = nearest_kin(DataRoot.open(root), "t", manifest_of_rows(with_changed(ROWS, 1)))

    assert not share_file(kin, tmp_path / "data", link=no_link)


def test_a_version_that_is_dropped_meanwhile_is_not_shared(tmp_path, manifest_of_rows) -> None:
    root, old = tmp_path / "root", manifest_of_rows(ROWS)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    kin = nearest_kin(DataRoot.open(root), "t", manifest_of_rows(with_changed(ROWS, 1)))
    with root_writer(root) as writer:
        writer.drop_table("t")

    assert not share_file(kin, tmp_path / "data")


def test_a_version_of_which_nobody_knows_what_is_held_is_not_shared(tmp_path, manifest_of_rows) -> None:
    root, old = tmp_path / "root", manifest_of_rows(ROWS)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    next(root.rglob("held.json")).write_text("{")

    assert begin(root, manifest_of_rows(with_changed(ROWS, 1))) == []


@pytest.mark.parametrize("damage", [b"\1", bytes(9000)], ids=["a few bits", "zeros"])
def test_a_block_that_is_bad_in_the_file_of_the_other_version_is_not_taken_and_comes_right_for_both(
    tmp_path, manifest_of_rows, damage
) -> None:
    root, old, changed = tmp_path / "root", manifest_of_rows(ROWS), with_changed(ROWS, 1)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    with next(root.rglob("rows.bin")).open("r+b") as file:
        file.seek(3 * BLOCK_BYTES + 9)
        file.write(damage)
    new = manifest_of_rows(changed)

    assert begin(root, new) == [0, 2, 4, 5, 6, 7]
    finish(root, new, changed, [1, 3])

    assert_rows(root, new.version, changed)
    assert_rows(root, old.version, ROWS)


def test_nothing_is_shared_with_a_table_that_is_damaged(tmp_path, manifest_of_rows) -> None:
    root, old = tmp_path / "root", manifest_of_rows(ROWS)
    make_part(root, "t", ROWS, old, list(range(NUM_BLOCKS)))
    (root / "tables" / "t" / "CURRENT").write_bytes(b"")

    assert begin(root, manifest_of_rows(with_changed(ROWS, 1))) == []

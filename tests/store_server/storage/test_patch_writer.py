"""Versions with some rows replaced: what they hold, what they are called, what they cost, and what they share."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.parts import make_part, manifest_of, writer_of
from support.patches import directory, held_rows, patch_table, with_rows
from support.rows import random_rows

from store_server.storage import (
    Backend,
    BlockDamaged,
    DataRoot,
    InvalidPatch,
    VersionUnavailable,
    root_writer,
    verify,
)
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import held_blocks
from store_server.storage.manifest import default_block_rows
from store_server.storage.patch_writer import write_patch
from store_server.storage.row_layout import ShiftedRows
from store_server.storage.row_patch import RowPatch

BLOCK_ROWS, NUM_BLOCKS = 4_095, 6
BLOCK_BYTES = BLOCK_ROWS * 264
TABLE = random_rows(5 * BLOCK_ROWS + 100, 264)
IDS = [2 * BLOCK_ROWS, 0, len(TABLE) - 1, 2 * BLOCK_ROWS - 1]  # first and last rows of blocks 0, 1, 2 and 5
NEW = random_rows(4, 264, seed=1)


def files(root: Path) -> set[str]:
    return {path.name for path in directory(root).iterdir()}


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
@pytest.mark.parametrize("row_bytes", [7, 264, 1001, 1 << 19])
def test_a_patch_has_its_rows_and_all_others_of_the_base_and_the_name_of_an_import_of_them_all(
    root: Path, tmp_path: Path, publish: Callable[..., str], backend: str, row_bytes: int
) -> None:
    block_rows = default_block_rows(row_bytes)
    table = random_rows(5 * block_rows + 1, row_bytes)
    ids = [len(table) - 1, block_rows, 2 * block_rows - 1]
    new = random_rows(3, row_bytes, seed=1)
    base = publish(root, "t", table, backend=backend, row_format="x-mine", fingerprint="f")

    version = patch_table(root, "t", ids, new).version

    expected = with_rows(table, ids, new)
    assert DataRoot.open(root).current_version("t") == version
    assert version == publish(tmp_path / "other", "t", expected, row_format="x-mine", fingerprint="f")
    assert np.array_equal(held_rows(root), expected)
    assert np.array_equal(held_rows(root, in_memory=True), expected)
    assert np.array_equal(held_rows(root, base), table)
    assert [progress.blocks_done for progress in verify(DataRoot.open(root), "t", version)][-1] == 6


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_rows_of_both_files_are_served_by_one_take(root: Path, publish: Callable[..., str], backend: str) -> None:
    publish(root, "t", TABLE, backend=backend)
    patch_table(root, "t", [5], NEW[:1])
    data_root = DataRoot.open(root)
    opened = open_files(data_root.stored_version("t", data_root.current_version("t")))

    mapped = opened.map()
    opened.close()

    assert len(mapped.maps) == 1
    assert isinstance(mapped.layout, ShiftedRows)


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_patch_writes_the_blocks_that_it_changes_and_no_others(
    root: Path, publish: Callable[..., str], backend: str
) -> None:
    publish(root, "t", TABLE, backend=backend)
    data_name = next(name for name in files(root) if name.startswith("rows."))
    before = bytes_written_here()

    outcome = patch_table(root, "t", IDS[:2], NEW[:2])

    assert bytes_written_here() - before < 2 * BLOCK_BYTES + 20_000
    assert 2 * BLOCK_BYTES <= outcome.bytes_written < 2 * BLOCK_BYTES + 264
    assert (outcome.rows_changed, outcome.blocks_changed) == (2, 2)
    assert (directory(root) / data_name).stat().st_nlink == 2
    assert (directory(root) / "changed.bin").stat().st_blocks * 512 < 2 * BLOCK_BYTES + 20_000


def bytes_written_here() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["wchar"])


def test_a_patch_of_a_patch_of_a_patch_has_two_files_and_the_rows_of_all(
    root: Path, tmp_path: Path, publish: Callable[..., str]
) -> None:
    publish(root, "t", TABLE)
    expected = TABLE
    for ids, rows in (([5, 3 * BLOCK_ROWS], NEW[:2]), ([6], NEW[2:3]), ([5, 2 * BLOCK_ROWS - 1], NEW[2:])):
        version = patch_table(root, "t", ids, rows).version
        expected = with_rows(expected, ids, rows)
        assert np.array_equal(held_rows(root), expected)

    assert version == publish(tmp_path / "other", "t", expected)
    assert files(root) == {"rows.bin", "changed.bin", "table.json"}
    assert manifest_of(root, "t").changed.ranges == ((0, 2), (3, 4))
    assert (directory(root) / "changed.bin").stat().st_size < 3 * BLOCK_BYTES + 264


def test_once_more_than_half_of_the_blocks_differ_a_patch_is_a_file_of_its_own(
    root: Path, publish: Callable[..., str]
) -> None:
    publish(root, "t", TABLE)
    patch_table(root, "t", [0, BLOCK_ROWS, 2 * BLOCK_ROWS], NEW[:3])
    assert "changed.bin" in files(root)

    outcome = patch_table(root, "t", [3 * BLOCK_ROWS], NEW[3:])

    assert outcome.is_whole
    assert files(root) == {"rows.bin", "table.json"}
    assert (directory(root) / "rows.bin").stat().st_nlink == 1
    assert np.array_equal(held_rows(root), with_rows(TABLE, [0, BLOCK_ROWS, 2 * BLOCK_ROWS, 3 * BLOCK_ROWS], NEW))


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_patch_stays_whole_when_its_base_is_dropped(root: Path, publish: Callable[..., str], backend: str) -> None:
    base = publish(root, "t", TABLE, backend=backend)
    patch_table(root, "t", IDS[:2], NEW[:2])

    with root_writer(root) as writer:
        writer.drop("t", base)

    assert np.array_equal(held_rows(root), with_rows(TABLE, IDS[:2], NEW[:2]))
    patch_table(root, "t", IDS[2:3], NEW[2:3])
    assert np.array_equal(held_rows(root), with_rows(TABLE, IDS[:3], NEW[:3]))


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_the_file_system_gives_no_second_name_the_file_is_copied(
    root: Path, publish: Callable[..., str], number: int
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    publish(root, "t", TABLE)

    outcome = patch_table(root, "t", [5], NEW[:1], link=refuse)

    assert outcome.is_copied
    assert outcome.bytes_written >= TABLE.nbytes
    assert (directory(root) / "rows.bin").stat().st_nlink == 1
    assert np.array_equal(held_rows(root), with_rows(TABLE, [5], NEW[:1]))


def test_a_data_file_that_lies_elsewhere_is_shared_itself(
    root: Path, tmp_path: Path, publish: Callable[..., str]
) -> None:
    publish(root, "t", TABLE)
    (directory(root) / "rows.bin").rename(tmp_path / "elsewhere")
    (directory(root) / "rows.bin").symlink_to(tmp_path / "elsewhere")

    patch_table(root, "t", [5], NEW[:1])
    (tmp_path / "elsewhere").unlink()

    assert np.array_equal(held_rows(root), with_rows(TABLE, [5], NEW[:1]))


def test_a_part_of_a_patch_is_held_as_one_of_any_version(
    root: Path, tmp_path: Path, publish: Callable[..., str], open_version: Callable[..., Backend]
) -> None:
    publish(tmp_path / "whole", "t", TABLE)
    patch_table(tmp_path / "whole", "t", IDS[:2], NEW[:2])
    expected = with_rows(TABLE, IDS[:2], NEW[:2])

    make_part(root, "t", expected, manifest_of(tmp_path / "whole", "t"), [0, 2, 3])

    out = np.empty((2, 264), np.uint8)
    open_version(root, "t").gather(np.array([0, 2 * BLOCK_ROWS]), out)
    assert np.array_equal(out, expected[[0, 2 * BLOCK_ROWS]])
    assert files(root) == {"rows.bin", "held.json", "table.json"}


def test_a_link_that_fails_otherwise_ends_the_patch_and_the_base_stays_current(
    root: Path, publish: Callable[..., str]
) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    base = publish(root, "t", TABLE)

    with pytest.raises(Exception, match="disk full"):
        patch_table(root, "t", [5], NEW[:1], link=fail)

    assert DataRoot.open(root).versions("t") == [base]
    assert list((root / "staging").iterdir()) == []


def test_rows_that_are_there_already_change_nothing(root: Path, publish: Callable[..., str]) -> None:
    base = publish(root, "t", TABLE)

    outcome = patch_table(root, "t", [7, 8], TABLE[7:9])

    assert (outcome.version, outcome.is_unchanged, outcome.rows_changed, outcome.bytes_written) == (base, True, 0, 0)
    assert DataRoot.open(root).versions("t") == [base]


def test_a_patch_that_changes_nothing_leaves_a_base_alone_of_which_half_the_blocks_were_changed_before(
    root: Path, publish: Callable[..., str]
) -> None:
    publish(root, "t", TABLE)
    base = patch_table(root, "t", [0, BLOCK_ROWS, 2 * BLOCK_ROWS], NEW[:3]).version
    before = {path.name: path.stat().st_ino for path in directory(root).iterdir()}

    outcome = patch_table(root, "t", [3 * BLOCK_ROWS], TABLE[[3 * BLOCK_ROWS]])

    assert (outcome.version, outcome.is_unchanged, outcome.bytes_written) == (base, True, 0)
    assert {path.name: path.stat().st_ino for path in directory(root).iterdir()} == before


def test_a_patch_that_changes_nothing_leaves_its_base_alone_though_a_block_of_it_goes_meanwhile(
    root: Path, publish: Callable[..., str]
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Meanwhile(RowPatch):
        """A patch while whose blocks are read the node lets go of one."""

        def replace_in(self, block: NDArray[np.uint8], first_row: int) -> int:
            with writer_of(root, "t") as held:
                held.let_go([(4, 5)])
            return super().replace_in(block, first_row)

    base = publish(root, "t", TABLE)
    stored = DataRoot.open(root).stored_version("t", base)
    with root_writer(root) as writer:
        outcome = write_patch(writer, stored, Meanwhile(np.array([5]), TABLE[[5]]))

    assert (outcome.version, outcome.is_unchanged) == (base, True)
    assert files(root) == {"rows.bin", "table.json", "held.json"}
    assert held_blocks(DataRoot.open(root).stored_version("t", base)).sum() == NUM_BLOCKS - 1


def test_a_block_whose_rows_stay_as_they_are_is_not_written(root: Path, publish: Callable[..., str]) -> None:
    publish(root, "t", TABLE)

    outcome = patch_table(root, "t", [7, BLOCK_ROWS], np.concatenate([TABLE[7:8], NEW[:1]]))

    assert (outcome.rows_changed, outcome.blocks_changed) == (1, 1)
    assert outcome.bytes_written < BLOCK_BYTES + 264
    assert manifest_of(root, "t").changed.ranges == ((1, 2),)


def test_a_patch_that_is_taken_back_ends_at_the_base_which_is_current_again(
    root: Path, publish: Callable[..., str]
) -> None:
    base = publish(root, "t", TABLE)
    patch_table(root, "t", [7], NEW[:1])

    outcome = patch_table(root, "t", [7], TABLE[7:8])

    assert (outcome.version, outcome.is_unchanged) == (base, False)
    assert DataRoot.open(root).current_version("t") == base
    assert files(root) == {"rows.bin", "table.json"}


def test_a_patch_may_begin_from_a_version_that_is_not_current(root: Path, publish: Callable[..., str]) -> None:
    base = publish(root, "t", TABLE)
    publish(root, "t", TABLE[::-1].copy())

    patch_table(root, "t", [7], NEW[:1], base=base)

    assert np.array_equal(held_rows(root), with_rows(TABLE, [7], NEW[:1]))


def test_a_version_that_is_held_in_part_is_not_patched(root: Path, tmp_path: Path, publish: Callable[..., str]) -> None:
    publish(tmp_path / "whole", "t", TABLE)
    make_part(root, "t", TABLE, manifest_of(tmp_path / "whole", "t"), [0, 1, 2])

    with pytest.raises(VersionUnavailable, match="3 of 6 blocks are held, and all are needed"):
        patch_table(root, "t", [7], NEW[:1])


def test_a_checkpoint_is_to_be_imported_before_it_is_patched(root: Path, publish: Callable[..., str]) -> None:
    publish(root, "t", TABLE[:100], backend="safetensors")

    with pytest.raises(InvalidPatch, match="`import` it first"):
        patch_table(root, "t", [7], NEW[:1])


def test_a_bad_block_of_the_base_is_not_patched(root: Path, publish: Callable[..., str]) -> None:
    base = publish(root, "t", TABLE)
    with (directory(root) / "rows.bin").open("r+b") as file:
        file.write(b"bad!")

    with pytest.raises(BlockDamaged, match="block 0"):
        patch_table(root, "t", [7], NEW[:1])

    assert DataRoot.open(root).versions("t") == [base]

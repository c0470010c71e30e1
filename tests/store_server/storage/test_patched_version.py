"""Patched versions as they are held: disk space that is shared, damage, and which pages lie in RAM."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.parts import block_bytes, writer_of
from support.patches import directory, held_rows, patch_table, with_rows
from support.rows import random_rows

from store_server.storage import (
    BlockDamaged,
    DataRoot,
    ResidentSet,
    RowsNotHeld,
    TableDamaged,
    verify,
)

BLOCK_ROWS, NUM_BLOCKS = 4_095, 6
BLOCK_BYTES = BLOCK_ROWS * 264
TABLE = random_rows(5 * BLOCK_ROWS + 100, 264)
IDS = [2 * BLOCK_ROWS, 0, len(TABLE) - 1, 2 * BLOCK_ROWS - 1]  # first and last rows of blocks 0, 1, 2 and 5
NEW = random_rows(4, 264, seed=1)


def test_disk_space_that_a_patch_shares_is_not_given_back_by_its_base(root: Path, publish: Callable[..., str]) -> None:
    publish(root, "t", TABLE)
    with writer_of(root, "t") as base:
        patch_table(root, "t", [7], NEW[:1])
        base.let_go([(0, 6)])

        base.give_back([(0, 6)])
        assert np.array_equal(held_rows(root), with_rows(TABLE, [7], NEW[:1]))

        of_base = next(path for path in directory(root).parent.iterdir() if path != directory(root))
        (of_base / "rows.bin").unlink()  # as when it is being dropped just now
        base.give_back([(0, 6)])  # it has the file open still, which is the patch's alone now
        assert np.array_equal(held_rows(root), with_rows(TABLE, [7], NEW[:1]))


def test_a_patch_gives_back_the_disk_space_that_it_alone_has(root: Path, publish: Callable[..., str]) -> None:
    publish(root, "t", TABLE)
    patch_table(root, "t", [7], NEW[:1])
    size = (directory(root) / "changed.bin").stat().st_blocks

    with writer_of(root, "t") as patched:
        patched.let_go([(0, 3)])
        patched.give_back([(0, 3)])

    assert (directory(root) / "changed.bin").stat().st_blocks < size / 10
    assert (directory(root) / "rows.bin").stat().st_blocks * 512 >= TABLE.nbytes
    with pytest.raises(RowsNotHeld):
        held_rows(root)


@pytest.mark.parametrize("block", [0, 1], ids=["changed", "shared"])
def test_a_bad_block_of_a_patch_is_found_and_brought_back(root: Path, publish: Callable[..., str], block: int) -> None:
    base = publish(root, "t", TABLE)
    patch_table(root, "t", [7], NEW[:1])
    name, offset = ("changed.bin", 1000) if block == 0 else ("rows.bin", BLOCK_BYTES)
    with (directory(root) / name).open("r+b") as file:
        file.seek(offset)
        file.write(b"bad!")
    expected = with_rows(TABLE, [7], NEW[:1])
    with pytest.raises(BlockDamaged, match=f"{name}: block {block} "):
        list(verify(DataRoot.open(root), "t", directory(root).name))

    with writer_of(root, "t") as patched:
        assert patched.quarantine(block)
        with pytest.raises(RowsNotHeld):
            held_rows(root)
        patched.reserve([(block, block + 1)])
        patched.store({block: block_bytes(expected, BLOCK_ROWS, block)})

    assert np.array_equal(held_rows(root), expected)
    assert np.array_equal(held_rows(root, base), TABLE)


def test_changed_blocks_that_are_missing_or_cut_short_are_damage(root: Path, publish: Callable[..., str]) -> None:
    publish(root, "t", TABLE)
    patch_table(root, "t", [7], NEW[:1])
    data_root = DataRoot.open(root)
    backend = data_root.open_backend("t", directory(root).name)
    path = directory(root) / "changed.bin"

    os.truncate(path, 1000)
    with pytest.raises(TableDamaged, match="cut short"):
        backend.gather(np.array([7]), np.empty((1, 264), np.uint8))
    with pytest.raises(TableDamaged, match=r"changed\.bin: the data file has another size"):
        data_root.open_backend("t", directory(root).name)
    path.unlink()
    with pytest.raises(TableDamaged, match=r"changed\.bin: the data file is missing"):
        data_root.open_backend("t", directory(root).name)
    backend.close()


def test_cold_rows_of_both_files_are_read_within_a_memory_budget(root: Path, publish: Callable[..., str]) -> None:
    table = random_rows(24 * BLOCK_ROWS, 264)
    ids = np.arange(0, 10 * BLOCK_ROWS, BLOCK_ROWS).tolist()
    new = random_rows(10, 264, seed=1)
    publish(root, "t", table)
    patch_table(root, "t", ids, new)
    for path in directory(root).glob("*.bin"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    budget = ResidentSet(16 << 20)
    data_root = DataRoot.open(root)
    backend = data_root.open_backend("t", data_root.current_version("t"), resident_set=budget)
    rows = np.random.default_rng(0).permutation(len(table))[:20_000]
    rows[:10] = ids

    out = np.empty((len(rows), 264), np.uint8)
    backend.gather(rows, out)
    backend.refresh_residency()
    budget.shrink()

    assert np.array_equal(out, with_rows(table, ids, new)[rows])
    assert 0 < budget.pages_in_ram() * 4096 <= 16 << 20
    backend.close()


def test_all_pages_of_a_patch_can_be_known_to_be_in_ram(root: Path, publish: Callable[..., str]) -> None:
    publish(root, "t", TABLE)
    patch_table(root, "t", [7], NEW[:1])
    data_root = DataRoot.open(root)
    backend = data_root.open_backend("t", data_root.current_version("t"))
    out = np.empty((len(TABLE), 264), np.uint8)
    backend.gather(np.arange(len(TABLE)), out)

    backend.refresh_residency()

    assert backend.resident
    assert backend.gather_from_ram(np.arange(len(TABLE)), out)
    assert np.array_equal(out, with_rows(TABLE, [7], NEW[:1]))
    backend.close()

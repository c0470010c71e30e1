"""A backup of a data root at rest: what is in it, what a second one costs, what it removes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.backups import back_up, outcomes, rows_in, verified
from support.checkpoints import attach_rows
from support.patches import patch_table, with_rows
from support.rows import random_rows
from support.tables import write_table

from store_server.storage import DataRoot, RootBusy, RootOfAnotherNode, root_writer, verify
from store_server.storage.node_lock import NodeLock

BLOCK_ROWS = 4_095
OLD, NEW = random_rows(4 * BLOCK_ROWS + 9, 264), random_rows(2 * BLOCK_ROWS, 264, seed=1)
CHANGED = random_rows(1, 264, seed=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def file_of(root: Path, table: str, version: str) -> Path:
    data_root = DataRoot.open(root)
    return data_root.stored_version(table, version).data_path


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_backup_is_a_root_with_the_same_versions_of_the_same_rows(root: Path, to: Path, backend: str) -> None:
    old = write_table(root, "a/b", OLD, backend=backend, row_format="float32", fingerprint="f")
    new = write_table(root, "a/b", NEW, backend=backend)
    write_table(root, "other", OLD[:5], backend=backend)

    backed_up = back_up(root, to)

    assert set(outcomes(backed_up).values()) == {"copied"}
    assert verified(to) == verified(root) == {"a/b": [new, old], "other": backed_up_versions(to, "other")}
    assert np.array_equal(rows_in(to, "a/b"), NEW)
    assert np.array_equal(rows_in(to, "a/b", old), OLD)
    assert np.array_equal(rows_in(to, "other"), OLD[:5])
    for version in (old, new):
        assert DataRoot.open(to).manifest("a/b", version) == DataRoot.open(root).manifest("a/b", version)
        assert file_of(to, "a/b", version).read_bytes() == file_of(root, "a/b", version).read_bytes()


def backed_up_versions(to: Path, table: str) -> list[str]:
    return DataRoot.open(to).versions(table)


def test_a_second_backup_copies_what_is_new_and_removes_nothing(root: Path, to: Path) -> None:
    old = write_table(root, "t", OLD)
    gone = write_table(root, "gone", OLD)
    first = back_up(root, to)
    new = write_table(root, "t", NEW)
    with root_writer(root) as writer:
        writer.drop("t", old)
        writer.drop_table("gone")

    second = back_up(root, to)
    third = back_up(root, to)

    assert [each.num_bytes for each in first] == [OLD.nbytes, OLD.nbytes]
    assert [(each.version, each.outcome.value, each.num_bytes) for each in second] == [(new, "copied", NEW.nbytes)]
    assert [(each.version, each.outcome.value, each.num_bytes) for each in third] == [(new, "there", 0)]
    assert verified(to) == {"gone": [gone], "t": [new, old]}


def test_what_the_root_has_no_more_is_removed_if_one_asks_for_it(root: Path, to: Path) -> None:
    old = write_table(root, "t", OLD)
    write_table(root, "gone", OLD)
    back_up(root, to)
    new = write_table(root, "t", NEW)
    with root_writer(root) as writer:
        writer.drop("t", old)
        writer.drop_table("gone")

    pruned = back_up(root, to, prune=True)

    assert outcomes(pruned) == {("t", new): "copied", ("t", old): "removed", ("gone", ""): "removed"}
    assert verified(to) == {"t": [new]}


def test_a_table_that_was_switched_back_is_switched_back_in_the_backup(root: Path, to: Path) -> None:
    old = write_table(root, "t", OLD)
    new = write_table(root, "t", NEW)
    back_up(root, to)
    with root_writer(root) as writer:
        writer.make_current("t", old)

    again = back_up(root, to)

    assert set(outcomes(again).values()) == {"there"}
    assert verified(to) == {"t": [old, new]}


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_patched_versions_share_a_file_in_the_backup_as_they_do_in_the_root(root: Path, to: Path, backend: str) -> None:
    base = write_table(root, "t", OLD, backend=backend)
    back_up(root, to)
    patched = patch_table(root, "t", [7], CHANGED).version
    again = patch_table(root, "t", [7 + BLOCK_ROWS], CHANGED).version

    backed_up = back_up(root, to)

    num_bytes = {each.version: each.num_bytes for each in backed_up}
    assert num_bytes == {base: 0, patched: BLOCK_ROWS * 264, again: 2 * BLOCK_ROWS * 264}
    assert file_of(to, "t", patched).samefile(file_of(to, "t", base))
    assert file_of(to, "t", again).samefile(file_of(to, "t", base))
    assert verified(to)["t"][0] == again
    assert np.array_equal(rows_in(to, "t", base), OLD)
    assert np.array_equal(rows_in(to, "t"), with_rows(with_rows(OLD, [7], CHANGED), [7 + BLOCK_ROWS], CHANGED))


def test_a_shared_file_is_that_of_no_version_that_lies_otherwise_in_the_backup(root: Path, to: Path) -> None:
    base = write_table(root, "t", OLD)
    patched = patch_table(root, "t", [7], CHANGED).version
    write_table(to, "t", with_rows(OLD, [7], CHANGED))  # the same version, in a file of its own

    back_up(root, to)

    assert verified(to) == {"t": [patched, base]}
    assert not file_of(to, "t", patched).samefile(file_of(to, "t", base))
    assert np.array_equal(rows_in(to, "t", patched), with_rows(OLD, [7], CHANGED))
    assert np.array_equal(rows_in(to, "t", base), OLD)


def test_an_attached_version_is_in_the_backup_without_its_rows_and_learns_its_digests_later(
    root: Path, to: Path
) -> None:
    root.mkdir()
    version = attach_rows(root, "t", OLD)
    first = back_up(root, to)
    list(verify(DataRoot.open(root), "t", version))
    back_up(root, to)

    assert outcomes(first) == {("t", version): "attached"}
    assert np.array_equal(rows_in(to, "t"), OLD)
    assert DataRoot.open(to).manifest("t", version) == DataRoot.open(root).manifest("t", version)
    assert DataRoot.open(to).manifest("t", version).block_digests


def test_a_damaged_version_is_named_and_not_in_the_backup_and_nothing_is_removed_then(root: Path, to: Path) -> None:
    gone = write_table(root, "gone", NEW)
    back_up(root, to)
    old = write_table(root, "t", OLD)
    damaged = write_table(root, "t", NEW)
    sound = write_table(root, "z", NEW)
    with root_writer(root) as writer:
        writer.drop_table("gone")
    with file_of(root, "t", damaged).open("r+b") as file:
        file.seek(BLOCK_ROWS * 264)
        file.write(b"!")

    backed_up = back_up(root, to, prune=True)

    expected = {("t", damaged): "unreadable", ("t", old): "left out", ("z", sound): "copied"}
    assert outcomes(backed_up) == expected
    assert f"{file_of(root, 't', damaged)}: block 1 (rows 4095 to 8189" in str(backed_up[0].error)
    assert verified(to) == {"gone": [gone], "z": [sound]}

    restored = write_table(root, "t", NEW)
    assert restored == damaged
    back_up(root, to, prune=True)
    assert verified(to) == {"t": [damaged, old], "z": [sound]}


def test_of_a_table_that_is_in_the_backup_older_versions_are_copied_though_the_current_one_is_damaged(
    root: Path, to: Path
) -> None:
    first = write_table(root, "t", OLD)
    back_up(root, to)
    older = write_table(root, "t", OLD[:9])
    damaged = write_table(root, "t", NEW)
    file_of(root, "t", damaged).unlink()

    backed_up = back_up(root, to)

    assert outcomes(backed_up) == {("t", damaged): "unreadable", ("t", older): "copied", ("t", first): "there"}
    assert verified(to) == {"t": [first, older]}


def test_a_table_of_which_nobody_knows_what_is_current_keeps_no_other_from_being_copied(root: Path, to: Path) -> None:
    write_table(root, "bad", OLD[:9])
    (root / "tables" / "bad" / "CURRENT").write_text("nonsense")
    sound = write_table(root, "t", OLD[:9])

    backed_up = back_up(root, to)

    assert outcomes(backed_up) == {("bad", ""): "unreadable", ("t", sound): "copied"}
    assert verified(to) == {"t": [sound]}


def test_a_backup_waits_for_no_other_writer_of_its_directory_nor_a_node_that_has_it(root: Path, to: Path) -> None:
    write_table(root, "t", OLD[:9])
    to.mkdir()
    node = NodeLock(to)
    node.take("n1")
    with pytest.raises(RootOfAnotherNode, match="n1"):
        back_up(root, to)
    node.release()

    with root_writer(to), pytest.raises(RootBusy):
        back_up(root, to)


def test_a_backup_takes_no_lock_of_the_root(root: Path, to: Path) -> None:
    version = write_table(root, "t", OLD[:9])
    node = NodeLock(root)
    node.take("n1")

    with root_writer(root):
        back_up(root, to)

    node.release()
    assert verified(to) == {"t": [version]}

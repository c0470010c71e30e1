from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store_server.storage import (
    Backend,
    BlockDamaged,
    DataRoot,
    RootBusy,
    RootNotFound,
    RootNotWritable,
    TableExists,
    TableNotFound,
    TableSpec,
    VersionIsCurrent,
    VersionNotFound,
    root_writer,
    verify,
)
from store_server.storage.root_lock import root_lock, unfinished_bytes

PATIENCE_SECONDS = 60
OLD = np.zeros((9_000, 264), np.uint8)
NEW = np.ones((9_000, 264), np.uint8)
Publish = Callable[..., str]

HOLD_THE_ROOT = """
import sys
from store_server.storage import root_writer
with root_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_root_is_created_with_its_parents(tmp_path: Path) -> None:
    with root_writer(tmp_path / "a" / "b" / "root"):
        pass

    assert DataRoot.open(tmp_path / "a" / "b" / "root").table_names() == []


@pytest.mark.parametrize("inside", ["tables", "tables/t@x/versions", "staging"])
def test_a_place_within_a_data_root_is_none_of_its_own(root: Path, inside: str) -> None:
    with root_writer(root):
        pass
    (root / inside).mkdir(parents=True, exist_ok=True)
    before = sorted(root.rglob("*"))

    with pytest.raises(RootNotFound, match=f"lies within the data root {root}; name that one"):
        DataRoot.open(root / inside)
    with (
        pytest.raises(RootNotFound, match=f"lies within the data root {root}; name that one"),
        root_writer(root / inside),
    ):
        pass
    assert sorted(root.rglob("*")) == before


def test_a_folder_that_is_only_called_tables_may_hold_a_data_root(tmp_path: Path) -> None:
    with root_writer(tmp_path / "tables" / "root"):
        pass

    assert DataRoot.open(tmp_path / "tables" / "root").table_names() == []


def test_a_second_writer_is_told_who_the_first_is(root: Path) -> None:
    command = [sys.executable, "-c", HOLD_THE_ROOT, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RootBusy, match=f"process {holder.pid}") as caught, root_writer(root):
            pass
        holder.communicate(timeout=10)

    assert caught.value.pid == holder.pid
    with root_writer(root):
        pass


def test_the_lock_dies_with_its_writer(root: Path) -> None:
    command = [sys.executable, "-c", HOLD_THE_ROOT, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()

    with root_writer(root):
        pass


def test_two_writers_in_one_process_exclude_each_other(root: Path) -> None:
    with root_writer(root), pytest.raises(RootBusy), root_writer(root):
        pass


def test_who_only_looks_for_what_writers_left_keeps_no_writer_out(root: Path) -> None:
    has_looked, is_over, found = threading.Event(), threading.Event(), set()

    def look_again_and_again() -> None:
        while not is_over.is_set():
            found.add(unfinished_bytes(root))
            has_looked.set()

    with root_writer(root):
        left = root / "staging" / "0123456789abcdef"
        left.write_bytes(bytes(8192))
    looking = threading.Thread(target=look_again_and_again)
    looking.start()
    try:
        assert has_looked.wait(PATIENCE_SECONDS)
        for _ in range(300):
            with root_lock(root):
                pass
    finally:
        is_over.set()
        looking.join(PATIENCE_SECONDS)
    assert found == {8192, 0}  # before the first writer came, and after it


def test_a_writer_that_fails_takes_away_the_root_and_the_parents_that_it_made_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    with pytest.raises(KeyboardInterrupt), root_writer(tmp_path / "there" / "not" / "yet"):
        raise KeyboardInterrupt

    assert list((tmp_path / "there").iterdir()) == []


def test_a_writer_that_fails_takes_away_nothing_that_was_published_or_put_there(root: Path, publish: Publish) -> None:
    def publish_and_fail() -> None:
        with root_writer(root) as writer, writer.new_version("t", TableSpec(num_rows=1, row_bytes=1)) as version:
            version.append(np.zeros((1, 1), np.uint8))
            version.publish()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_and_fail()

    assert DataRoot.open(root).table_names() == ["t"]
    with root_writer(root):
        pass


LOSE_THE_LOCK = """
import os, sys
from store_server.storage import RootBusy, root_writer

def take_the_root_away(event, arguments):
    if event == "fcntl.flock":
        os.unlink(sys.argv[1] + "/LOCK")

sys.addaudithook(take_the_root_away)
try:
    with root_writer(sys.argv[1]):
        print("held")
except RootBusy:
    print("busy")
"""


def test_a_lock_that_its_maker_took_away_before_it_was_held_is_no_lock(root: Path) -> None:
    """Its holder would write beside the writer who makes the root, and its lock, anew."""
    command = [sys.executable, "-c", LOSE_THE_LOCK, str(root)]

    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == "busy\n"


def test_a_file_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(RootNotFound, match="not a directory"), root_writer(tmp_path / "file"):
        pass


def test_a_read_only_root_says_so(mount_tmpfs: Callable, publish: Publish) -> None:
    with mount_tmpfs("size=16m") as place:
        version = publish(place, "t", OLD)
        subprocess.run(["/bin/mount", "-o", "remount,ro", str(place)], check=True)

        with pytest.raises(RootNotWritable, match="Read-only") as caught, root_writer(place):
            pass

        assert caught.value.path == place
        assert DataRoot.open(place).current_version("t") == version


def test_a_new_version_becomes_current_and_the_old_one_stays(root: Path, publish: Publish) -> None:
    old = publish(root, "a/b", OLD)
    new = publish(root, "a/b", NEW)

    data_root = DataRoot.open(root)

    assert data_root.table_names() == ["a/b"]
    assert data_root.current_version("a/b") == new
    assert data_root.versions("a/b") == sorted([old, new])


def test_publishing_an_old_version_again_makes_it_current(root: Path, publish: Publish) -> None:
    old = publish(root, "t", OLD)
    publish(root, "t", NEW)

    assert publish(root, "t", OLD) == old
    assert DataRoot.open(root).current_version("t") == old
    assert len(DataRoot.open(root).versions("t")) == 2


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_publishing_what_is_current_and_intact_changes_no_file(root: Path, publish: Publish, backend: str) -> None:
    publish(root, "t", OLD, backend=backend)
    before = {path: path.stat().st_ino for path in root.glob("tables/**/*")}

    unchanged = []
    for name, rows in (("t", OLD), ("t", NEW), ("other", NEW)):
        spec = TableSpec(num_rows=9_000, row_bytes=264)
        with root_writer(root) as writer, writer.new_version(name, spec, backend=backend) as version:
            version.append(rows)
            version.publish()
            unchanged.append(version.is_unchanged)
            if name == "t" and rows is OLD:
                assert {path: path.stat().st_ino for path in root.glob("tables/**/*")} == before

    assert unchanged == [True, False, False]
    assert list((root / "staging").iterdir()) == []


def test_a_switch_back_to_an_old_version_leaves_its_files_alone(root: Path, publish: Publish) -> None:
    version = publish(root, "t", OLD)
    place = (root / "tables" / "t" / "versions" / version).stat().st_ino
    publish(root, "t", NEW)

    publish(root, "t", OLD)

    assert DataRoot.open(root).current_version("t") == version
    assert (root / "tables" / "t" / "versions" / version).stat().st_ino == place


def test_publishing_again_repairs_a_damaged_copy(root: Path, publish: Publish) -> None:
    version = publish(root, "t", OLD)
    data_file = root / "tables" / "t" / "versions" / version / "rows.bin"
    data_file.write_bytes(b"\1" * data_file.stat().st_size)
    with pytest.raises(BlockDamaged):
        list(verify(DataRoot.open(root), "t", version))

    publish(root, "t", OLD)

    assert list(verify(DataRoot.open(root), "t", version))[-1].num_blocks == 3
    assert list((root / "staging").iterdir()) == []


def test_publishing_again_with_another_backend_replaces_the_copy(
    root: Path, publish: Publish, open_version: Callable[..., Backend]
) -> None:
    version = publish(root, "t", OLD, backend="mmap")
    opened = open_version(root, "t")

    publish(root, "t", OLD, backend="lmdb")

    assert open_version(root, "t", version).kind == "lmdb"
    assert np.array_equal(np.concatenate(list(opened.blocks())), OLD)


def test_a_version_that_is_not_current_can_be_dropped(root: Path, publish: Publish) -> None:
    old = publish(root, "t", OLD)
    new = publish(root, "t", NEW)

    with root_writer(root) as writer:
        writer.drop("t", old)

    assert DataRoot.open(root).versions("t") == [new]
    assert list((root / "staging").iterdir()) == []
    with pytest.raises(VersionNotFound) as caught:
        DataRoot.open(root).open_backend("t", old)
    assert (caught.value.table, caught.value.version, caught.value.current) == ("t", old, new)


def test_the_current_version_cannot_be_dropped(root: Path, publish: Publish) -> None:
    version = publish(root, "t", OLD)

    with root_writer(root) as writer, pytest.raises(VersionIsCurrent, match=version):
        writer.drop("t", version)

    assert DataRoot.open(root).versions("t") == [version]


def test_a_table_is_dropped_with_all_its_versions(root: Path, publish: Publish, open_version: Callable) -> None:
    publish(root, "a", OLD)
    publish(root, "a", NEW)
    publish(root, "b", OLD)
    opened = open_version(root, "a")

    with root_writer(root) as writer:
        writer.drop_table("a")
        with pytest.raises(TableNotFound):
            writer.drop_table("a")

    assert DataRoot.open(root).table_names() == ["b"]
    assert [path.name for path in (root / "tables").iterdir()] == ["b"]
    assert list((root / "staging").iterdir()) == []
    assert np.array_equal(np.concatenate(list(opened.blocks())), NEW)


def test_a_table_that_lost_its_current_is_whole_again_after_an_import_or_gone_after_a_drop(
    root: Path, publish: Publish
) -> None:
    version = publish(root, "t", OLD)
    (root / "tables" / "t" / "CURRENT").unlink()
    assert publish(root, "t", OLD) == version
    assert DataRoot.open(root).current_version("t") == version

    (root / "tables" / "t" / "CURRENT").unlink()
    with root_writer(root) as writer:
        writer.drop_table("t")
    assert list((root / "tables").iterdir()) == []


def test_what_is_not_there_cannot_be_dropped(root: Path, publish: Publish) -> None:
    publish(root, "t", OLD)

    with root_writer(root) as writer:
        with pytest.raises(TableNotFound):
            writer.drop("other", "0" * 32)
        with pytest.raises(VersionNotFound):
            writer.drop("t", "../../t")


def test_a_table_that_is_there_is_not_new(root: Path, publish: Publish) -> None:
    publish(root, "t", OLD)

    with root_writer(root) as writer:
        writer.require_new("other")
        with pytest.raises(TableExists, match="'t' exists already"):
            writer.require_new("t")


def test_leftovers_of_dead_writers_are_removed_and_nothing_else(root: Path, publish: Publish) -> None:
    publish(root, "t", OLD)
    leftover, foreign = root / "staging" / "0123456789abcdef", root / "staging" / "mine"
    for directory in (leftover, foreign):
        directory.mkdir()
        (directory / "rows.bin").write_bytes(b"half")
    (root / "staging" / "fedcba9876543210").write_text("half a CURRENT")

    with root_writer(root):
        pass

    assert list((root / "staging").iterdir()) == [foreign]


def test_a_large_table_is_refused_before_anything_is_written(root: Path) -> None:
    spec = TableSpec(num_rows=1 << 42, row_bytes=1 << 20)

    with (
        root_writer(root) as writer,
        pytest.raises(Exception, match=r"rows\.bin|staging"),
        writer.new_version("t", spec),
    ):
        pass

    assert list((root / "staging").iterdir()) == []

"""A backup that ends before its end: nothing half is under a final name, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.backups import back_up, outcomes, rows_in, verified
from support.parts import make_part, manifest_of
from support.rows import random_rows
from support.tables import write_table

from store_server.backup.space import bytes_lacking
from store_server.storage import DataRoot, root_writer

BLOCK_ROWS, BLOCK_BYTES = 4_095, 4_095 * 264
ROWS = random_rows(6 * BLOCK_ROWS, 264)
_LIMIT_SECONDS = 60
# Copies two batches of a version and says so.
HALF_A_BACKUP = """
import signal, sys
from pathlib import Path
from support.backups import back_up

batches = iter([1])
back_up(Path(sys.argv[1]), Path(sys.argv[2]), between=lambda _: next(batches, None) or print() or signal.pause())
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def interrupted(root: Path, to: Path, *, after: int) -> None:
    """Make a backup that is interrupted after so many batches."""
    batches = iter(range(1, after))

    def between(_table: str) -> None:
        if next(batches, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(root, to, between=between)


# Of a file that is copied as it lies, the last piece may not have come to the disk.
@pytest.mark.parametrize(("backend", "bytes_kept"), [("mmap", 4 * BLOCK_BYTES), ("lmdb", 3 << 20)])
def test_what_was_copied_before_an_interruption_stays_out_of_sight_and_is_not_copied_again(
    root: Path, to: Path, backend: str, bytes_kept: int
) -> None:
    version = write_table(root, "t", ROWS, backend=backend)
    file_bytes = DataRoot.open(root).manifest("t", version).data_bytes
    interrupted(root, to, after=4)
    assert not (to / "tables").exists() or verified(to) == {}

    (backed_up,) = back_up(root, to)

    assert backed_up.num_bytes == file_bytes - bytes_kept
    assert verified(to) == {"t": [version]}
    assert np.array_equal(rows_in(to, "t"), ROWS)


def test_a_killed_backup_leaves_nothing_half_and_the_next_goes_on(root: Path, to: Path) -> None:
    version = write_table(root, "t", ROWS)
    command = [sys.executable, "-u", "-c", HALF_A_BACKUP, str(root), str(to)]
    tests = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=tests) as backup:
        assert backup.stdout.read(1) == b"\n"
        backup.kill()
        assert backup.wait(_LIMIT_SECONDS) == -signal.SIGKILL
    assert verified(to) == {}

    (backed_up,) = back_up(root, to)

    assert backed_up.num_bytes == ROWS.nbytes - 2 * BLOCK_BYTES
    assert verified(to) == {"t": [version]}
    assert np.array_equal(rows_in(to, "t"), ROWS)


def test_a_version_that_is_interrupted_hides_no_other(root: Path, to: Path) -> None:
    done = write_table(root, "a", ROWS[: 2 * BLOCK_ROWS])
    write_table(root, "b", ROWS)

    interrupted(root, to, after=4)

    assert verified(to) == {"a": [done]}


def test_what_was_begun_of_a_version_that_is_gone_since_is_removed(root: Path, to: Path) -> None:
    write_table(root, "t", ROWS)
    interrupted(root, to, after=2)
    new = write_table(root, "t", ROWS[:9])
    with root_writer(root) as writer:
        writer.drop("t", next(each for each in DataRoot.open(root).versions("t") if each != new))

    back_up(root, to)

    assert verified(to) == {"t": [new]}
    assert list((to / "incoming").iterdir()) == []


def test_what_was_begun_of_a_version_that_lies_in_another_file_now_is_begun_anew(root: Path, to: Path) -> None:
    version = write_table(root, "t", ROWS, backend="lmdb")
    interrupted(root, to, after=3)
    with root_writer(root) as writer:
        writer.drop_table("t")
    write_table(root, "t", ROWS)

    back_up(root, to)

    assert verified(to) == {"t": [version]}
    assert np.array_equal(rows_in(to, "t"), ROWS)


def test_room_that_an_interrupted_backup_has_taken_is_not_asked_for_again(root: Path, to: Path) -> None:
    version = write_table(root, "t", ROWS)
    data_root = DataRoot.open(root)
    assert bytes_lacking(data_root, DataRoot(to), [("t", version)]) == ROWS.nbytes

    interrupted(root, to, after=2)

    assert bytes_lacking(data_root, DataRoot(to), [("t", version)]) == 0  # all of it was reserved
    back_up(root, to)
    assert bytes_lacking(data_root, DataRoot(to), [("t", version)]) == 0


def test_blocks_that_come_to_a_part_later_are_copied_into_the_backup_later(
    root: Path, to: Path, tmp_path: Path
) -> None:
    version = write_table(tmp_path / "elsewhere", "t", ROWS)
    make_part(root, "t", ROWS, manifest_of(tmp_path / "elsewhere", "t"), [0, 3])
    (first,) = back_up(root, to)
    assert (first.num_bytes, verified(to)) == (2 * BLOCK_BYTES, {"t": [version]})

    write_table(root, "t", ROWS)
    assert bytes_lacking(DataRoot.open(root), DataRoot.open(to), [("t", version)]) == 4 * BLOCK_BYTES
    (second,) = back_up(root, to)

    assert outcomes([second]) == {("t", version): "copied"}
    assert second.num_bytes == 4 * BLOCK_BYTES
    assert np.array_equal(rows_in(to, "t"), ROWS)
    held = DataRoot.open(to).version_path("t", version) / "held.json"
    assert not held.exists()  # published whole in the root: no node may take it away again

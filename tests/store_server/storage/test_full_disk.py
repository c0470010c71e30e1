from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store_server.storage import (
    DataRoot,
    DiskFull,
    RootNotWritable,
    StorageError,
    StorageFailure,
    TableSpec,
    root_writer,
    verify,
)
from store_server.storage.durable import disk_errors_named
from store_server.storage.files.lmdb_file import LmdbFileWriter

BACKENDS = ("mmap", "lmdb")
SMALL = np.ones((9_000, 264), np.uint8)  # 2.4 MB
LARGE = TableSpec(num_rows=100_000, row_bytes=264)  # 26 MB


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_disk_is_found_before_a_row_is_written_and_nothing_stays_behind(
    mount_tmpfs: Callable, publish: Callable[..., str], backend: str
) -> None:
    with mount_tmpfs("size=12m") as place:
        version = publish(place, "t", SMALL)

        with (
            root_writer(place) as writer,
            pytest.raises(DiskFull) as caught,
            writer.new_version("t", LARGE, backend=backend),
        ):
            pass

        assert caught.value.bytes_needed >= LARGE.num_rows * LARGE.row_bytes
        assert 0 < caught.value.bytes_free < 12 << 20
        assert list((place / "staging").iterdir()) == []
        assert DataRoot.open(place).current_version("t") == version
        list(verify(DataRoot.open(place), "t", version))
        publish(place, "other", SMALL, backend=backend)


def test_a_disk_that_somebody_else_fills_meanwhile_leaves_nothing_behind(
    mount_tmpfs: Callable, publish: Callable[..., str]
) -> None:
    """The rows have their space reserved; the manifest has not."""
    with mount_tmpfs("size=12m") as place:
        version = publish(place, "t", SMALL)
        with root_writer(place) as writer, pytest.raises(DiskFull):  # noqa: PT012
            spec = TableSpec(num_rows=9_000, row_bytes=264, fingerprint="another")
            with writer.new_version("t", spec) as version_writer:
                version_writer.append(SMALL)
                fill(place / "somebody else's")
                version_writer.publish()

        assert list((place / "staging").iterdir()) == []
        assert DataRoot.open(place).versions("t") == [version]


def test_a_full_disk_does_not_keep_anyone_from_dropping_a_version(
    mount_tmpfs: Callable, publish: Callable[..., str]
) -> None:
    with mount_tmpfs("size=12m") as place:
        old = publish(place, "t", SMALL)
        publish(place, "t", SMALL + 1)
        fill(place / "somebody else's")

        with root_writer(place) as writer:
            writer.drop("t", old)

        assert len(DataRoot.open(place).versions("t")) == 1


@pytest.mark.parametrize("size", ["size=12m", "size=256m"])
def test_lmdb_that_needs_more_than_was_reserved_reports_a_full_disk(mount_tmpfs: Callable, size: str) -> None:
    """On the small disk the write fails, on the large one LMDB's map is full; both are the same to a caller."""
    with mount_tmpfs(size) as place:
        writer = LmdbFileWriter(place / "rows.lmdb", TableSpec(num_rows=4095, row_bytes=264), block_rows=4095)
        try:
            with pytest.raises(OSError, match=r".") as caught:
                write_without_end(writer)
        finally:
            writer.abandon()

        assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EROFS, RootNotWritable),
        (errno.EACCES, RootNotWritable),
        (errno.EIO, StorageFailure),
    ],
)
def test_errors_of_the_system_become_ours(tmp_path: Path, number: int, expected: type[StorageError]) -> None:
    with pytest.raises(expected, match=str(tmp_path)) as caught, disk_errors_named(tmp_path, bytes_needed=7):
        raise OSError(number, "said the system")

    assert isinstance(caught.value.__cause__, OSError)


def write_without_end(writer: LmdbFileWriter) -> None:
    while True:
        writer.write(np.ones((4095, 264), np.uint8))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_a_full_disk_where_nobody_knows_how_much_was_needed_does_not_say_that_it_was_nothing(tmp_path: Path) -> None:
    assert "cannot be written to, the file system has 5 free" in str(DiskFull(tmp_path, 0, 5))

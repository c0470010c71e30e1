"""Writes that survive a crash: sync the file, then the directory that names it; failures become StorageErrors."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from store_server.storage.errors import DiskFull, RootNotWritable, StorageFailure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, each durable; one that is there is left alone."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file whose name becomes durable with the next sync of its directory."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes, *, temporary: Path) -> None:
    """Replace a file at once: a reader sees the old content or the new, also after a crash.

    `temporary` is a free name on the same file system.
    """
    write_new_file(temporary, data)
    temporary.rename(path)
    sync_directory(path.parent)


def exchange(one: Path, other: Path) -> None:
    """Swap two directories at once (renameat2), so that neither name is ever missing; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE))
    if libc.renameat2(*names) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


def reserve_space(path: Path, num_bytes: int) -> None:
    """Give a file its size and the disk blocks for it, so that a full disk is found before rows are written.

    A file system that cannot reserve (EOPNOTSUPP, EINVAL) is left to fail later. Raises DiskFull, OSError.
    """
    free = bytes_free(path)
    if num_bytes > free:  # asked first: a reservation that fails may take all that is left before it does
        raise DiskFull(path, num_bytes, free)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors_named(path: Path, *, bytes_needed: int = 0) -> Iterator[None]:
    """Turn an OSError from writing below `path` into DiskFull, RootNotWritable or StorageFailure."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path, bytes_needed, bytes_free(path)) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise RootNotWritable(path, reason) from error
        raise StorageFailure(path, reason) from error


def bytes_free(path: Path) -> int:
    """Return the bytes that an ordinary user may still write on the file system that holds `path`; 0 if unknown."""
    for place in (path, *path.parents):
        try:
            statistics = os.statvfs(place)
        except OSError:
            continue
        return statistics.f_bavail * statistics.f_frsize
    return 0

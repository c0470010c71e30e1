"""Disk space of ranges of a file: taken before they are written, given back when they are not wanted."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING, Final

from store_server.storage.durable import bytes_free
from store_server.storage.errors import DiskFull

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2
_UNABLE: Final = frozenset((errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS))  # of file systems that are
_BYTES_A_STATUS_BLOCK: Final = 512


def make_sparse(path: Path, num_bytes: int) -> None:
    """Make a file of so many bytes that takes no disk space yet. Raises OSError."""
    with path.open("xb") as file:
        file.truncate(num_bytes)
        os.fsync(file.fileno())


def reserve_ranges(descriptor: int, path: Path, ranges: Sequence[tuple[int, int]], *, spare_bytes: int) -> None:
    """Take disk space for ranges (offset, bytes) of an open file, so that a full disk is found before any is written.

    `spare_bytes`: of what they take, so much the file has already. Left to fail later where a file system cannot do it.
    Raises DiskFull, OSError.
    """
    needed, free = sum(size for _, size in ranges) - spare_bytes, bytes_free(path)
    if needed > free:  # asked first: a reservation that fails may take all that is left before it does
        raise DiskFull(path, needed, free)
    for offset, size in ranges:
        if not _fallocate(descriptor, 0, offset, size):
            return


def punch(descriptor: int, offset: int, size: int) -> bool:
    """Give the disk space of a range back; it reads as zeros then. False where the file system cannot. Raises OSError.

    Written and mapped bytes beside the range stay as they are, also those that share a page with it.
    """
    return _fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, size)


def has_hole(descriptor: int, offset: int, size: int) -> bool:
    """Tell whether a part of a range of an open file was never written, or given back; False where nobody can say."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_HOLE) < offset + size
    except OSError:
        return False


def allocated_bytes(descriptor: int) -> int:
    """Return the disk space that an open file takes."""
    return os.fstat(descriptor).st_blocks * _BYTES_A_STATUS_BLOCK


def _fallocate(descriptor: int, mode: int, offset: int, size: int) -> bool:
    # Not os.posix_fallocate: where a file system cannot, it writes into each page, also into one that another writes.
    if _libc().fallocate(descriptor, mode, offset, size) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number))


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return libc

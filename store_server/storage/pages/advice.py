"""Advice to the kernel about ranges of mapped memory, many ranges in one call where the kernel takes that.

process_madvise takes 1024 ranges a call, for one's own process any advice since Linux 6.13; without it each range is a
call of its own. Both run without the interpreter lock: mmap.madvise would hold it while a disk reads.
MADV_POPULATE_READ, which reports a page that cannot be read instead of a SIGBUS later on, is in Linux since 5.14.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WILLNEED: Final = 3
"""Begin to read the pages, and wait for none."""
DONTNEED: Final = 4
"""Take the pages out of this process; the page cache may keep them."""
POPULATE_READ: Final = 22  # Python 3.11 has no name for it
"""Read the pages and map them; raises OSError for one that cannot be read."""
POPULATE_WRITE: Final = 23
"""The same, for writing; raises OSError where there is no memory for one. As old as POPULATE_READ."""

_PROCESS_MADVISE: Final = 440  # the same on every architecture
_RANGES_A_CALL: Final = 1024  # UIO_MAXIOV


def advise(ranges: NDArray[np.uint64], advice: int) -> None:
    """Give advice about `ranges` (n, 2): address of a page, bytes. Raises OSError for the first that is refused."""
    taken = 0
    # No descriptor may be left for this process, or the kernel may have no such thing: then each goes by itself.
    with contextlib.suppress(OSError):
        if _takes_many(advice):
            with _ThisProcess() as process:
                taken = _advise_many(process, ranges, advice)
    _advise_each(ranges[taken:], advice)  # finds out which is refused, and why


@functools.cache
def can_populate() -> bool:
    """Return whether this kernel has MADV_POPULATE_READ."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        try:
            page.madvise(POPULATE_READ)
        except OSError:
            return False
    return True


@functools.cache
def libc() -> ctypes.CDLL:
    """Return the C library; what it is called for runs without the interpreter lock."""
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    library.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    return library


class _ThisProcess:
    """A descriptor of this process, which after a fork is another one."""

    def __enter__(self) -> int:
        self._descriptor = os.pidfd_open(os.getpid())
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


@functools.cache
def _takes_many(advice: int) -> bool:
    try:
        file = os.memfd_create("probe")
        try:
            os.ftruncate(file, mmap.PAGESIZE)
            page = np.frombuffer(mmap.mmap(file, mmap.PAGESIZE), np.uint8)
        finally:
            os.close(file)
        with _ThisProcess() as process:
            return _process_madvise(process, np.array([[page.ctypes.data, page.size]], np.uint64), advice) == page.size
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # says nothing about the next time
        return False  # a kernel or a container without these calls


def _advise_many(process: int, ranges: NDArray[np.uint64], advice: int) -> int:
    """Return how many ranges took the advice, up to a call of which a part was refused."""
    for start in range(0, len(ranges), _RANGES_A_CALL):
        some = ranges[start : start + _RANGES_A_CALL]
        if _process_madvise(process, some, advice) != int(some[:, 1].sum()):
            return start
    return len(ranges)


def _process_madvise(process: int, ranges: NDArray[np.uint64], advice: int) -> int:
    ranges = np.ascontiguousarray(ranges)  # as struct iovec
    address, number = ctypes.c_void_p(ranges.ctypes.data), ctypes.c_size_t(len(ranges))
    call = ctypes.c_long(_PROCESS_MADVISE)
    return int(libc().syscall(call, ctypes.c_int(process), address, number, ctypes.c_int(advice), ctypes.c_uint(0)))


def _advise_each(ranges: NDArray[np.uint64], advice: int) -> None:
    for address, num_bytes in ranges.tolist():
        if libc().madvise(address, num_bytes, advice) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

"""Settings of the C allocator for a process that makes and drops large messages all day."""

from __future__ import annotations

import ctypes
from typing import Final

# Numbers of mallopt's parameters in glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> None:
    """Let glibc keep up to about 200 MiB of freed memory instead of handing each message's back to the kernel.

    By default a message of a megabyte is mapped, faulted in page by page, and unmapped again: a tenth of the server's
    time at 4,096 rows of 264 bytes. Other C libraries have no mallopt and are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_THRESHOLD, 64 << 20)
    mallopt(_M_TRIM_THRESHOLD, 192 << 20)
    mallopt(_M_TOP_PAD, 16 << 20)

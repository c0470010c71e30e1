"""Which pages of a map are in RAM, by mincore."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAGES_ASKED_AT_ONCE = 1 << 16


def all_pages_resident(data: NDArray[np.uint8]) -> bool:
    """Return whether every page of a mapped flat array is in RAM now; stops at the first that is not.

    Costs about 20 ms a GiB. The answer may be old when it arrives: the kernel may drop a page at any time.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = np.empty(_PAGES_ASKED_AT_ONCE, np.uint8)
    step = _PAGES_ASKED_AT_ONCE * mmap.PAGESIZE
    for start in range(0, data.size, step):
        num_bytes = min(step, data.size - start)
        address = ctypes.c_void_p(data.ctypes.data + start)
        if libc.mincore(address, ctypes.c_size_t(num_bytes), ctypes.c_void_p(flags.ctypes.data)) != 0:
            return False
        if not (flags[: -(-num_bytes // mmap.PAGESIZE)] & 1).all():
            return False
    return True


def may_ask_for_residency(descriptor: int) -> bool:
    """Return whether mincore tells the truth about this open file.

    Since Linux 5.2 only the owner of a file, and who may write to it, learns which pages are in RAM; everyone else is
    told that all are.
    """
    return os.geteuid() in (0, os.fstat(descriptor).st_uid) or os.access(f"/proc/self/fd/{descriptor}", os.W_OK)

"""Which pages this process has mapped, by PAGEMAP_SCAN (Linux 6.7)."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REGION_BYTES: Final = 2 << 20
"""A fault maps at most the whole folio of the page cache that holds the page, and that is no larger."""

_PAGEMAP_SCAN: Final = 0xC0606610  # _IOWR('f', 16, struct pm_scan_arg)
_PRESENT: Final = 1 << 3
_MOST_RANGES_A_REGION: Final = REGION_BYTES // mmap.PAGESIZE // 2 + 1
_WORDS_A_RANGE: Final = 3  # struct page_region: begin, end, what they are


class _Scan(ctypes.Structure):
    """struct pm_scan_arg."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("size", "flags", "start", "end", "walk_end", "found", "most_found", "max_pages"),
            *("category_inverted", "category_mask", "category_anyof_mask", "return_mask"),
        )
    )


def mapped_ranges(regions: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return what is mapped of `regions` (n, 2), addresses of begin and end: (m, 2) such addresses, in order.

    A region is at most REGION_BYTES long. Raises OSError where the kernel does not say.
    """
    found = np.empty((len(regions) * _MOST_RANGES_A_REGION, _WORDS_A_RANGE), np.uint64)
    num_found, address, range_bytes = 0, found.ctypes.data, _WORDS_A_RANGE * found.itemsize
    scan = _Scan(size=ctypes.sizeof(_Scan), most_found=_MOST_RANGES_A_REGION)
    scan.category_mask = scan.return_mask = _PRESENT
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for scan.start, scan.end in regions.tolist():
            scan.found = address + num_found * range_bytes
            num_found += fcntl.ioctl(pagemap, _PAGEMAP_SCAN, scan)
    finally:
        os.close(pagemap)
    return found[:num_found, :2]

"""Which pages of a map are in RAM, by mincore."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.pages.advice import libc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from store_server.storage.pages.file_map import FileMap

_PAGES_ASKED_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Residency:
    """How much of some maps was in the page cache of this host when it was asked."""

    resident_bytes: int
    mapped_bytes: int


def pages_in_ram(data: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Return for each page of a mapped flat array whether it is in RAM now, (n,); None where the kernel cannot say.

    Costs about 1 ms a GiB of pages that this process has mapped, and 26 ms a GiB of others. The answer may be old when
    it arrives: the kernel may drop a page at any time.
    """
    flags = np.empty(-(-data.size // mmap.PAGESIZE), np.uint8)
    if libc().mincore(data.ctypes.data, data.size, flags.ctypes.data) != 0:
        return None
    flags &= 1
    return flags.view(np.bool_)


def residency_of(maps: Iterable[FileMap]) -> Residency | None:
    """Return how much of maps is in RAM; None where the kernel does not say."""
    resident, mapped, step = 0, 0, _PAGES_ASKED_AT_ONCE * mmap.PAGESIZE
    for file_map in maps:
        mapped += file_map.data.size
        for start in range(0, file_map.data.size, step):
            part = file_map.data[start : start + step]
            in_ram = pages_in_ram(part)
            if in_ram is None:
                return None
            resident += min(part.size, int(np.count_nonzero(in_ram)) * mmap.PAGESIZE)
    return Residency(resident, mapped)


def may_ask_for_residency(descriptor: int) -> bool:
    """Return whether mincore tells the truth about this open file.

    Since Linux 5.2 only the owner of a file, and who may write to it, learns which pages are in RAM; everyone else is
    told that all are.
    """
    return os.geteuid() in (0, os.fstat(descriptor).st_uid) or os.access(f"/proc/self/fd/{descriptor}", os.W_OK)

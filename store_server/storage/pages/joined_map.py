"""Maps of several files one behind the other, in one range of addresses."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.storage.errors import StorageFailure
from store_server.storage.pages.advice import libc
from store_server.storage.pages.file_map import FileMap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAY_MOVE: Final = 1
_FIXED: Final = 2


class JoinedMap(FileMap):
    """Whole files as the flat read-only array `data`: file k begins at byte `starts[k]`, the beginning of a page.

    Keeps the maps it was made of, for what belongs to one file. Raises StorageFailure.
    """

    def __init__(self, path: Path, parts: Sequence[FileMap]) -> None:
        """`path` stands for all the files: their directory."""
        ends = np.cumsum([-(-part.data.size // mmap.PAGESIZE) * mmap.PAGESIZE for part in parts]).tolist()
        self.starts: tuple[int, ...] = (0, *ends[:-1])
        self.path, self.offset, self._parts = path, 0, tuple(parts)
        num_bytes = self.starts[-1] + parts[-1].data.size
        try:
            self._mapped = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
            self.data = np.frombuffer(self._mapped, np.uint8)
            self.address = self.data.ctypes.data
            for part, start in zip(parts, self.starts, strict=True):
                _map_again(part, self.address + start)
            self._mapped.madvise(mmap.MADV_RANDOM)
        except (OSError, ValueError) as error:
            raise StorageFailure(path, f"cannot be mapped: {error}") from error
        self.file_bytes_needed = sum(part.file_bytes_needed for part in parts)

    def file_bytes(self) -> int:
        """See FileMap.file_bytes; what one file has grown by makes up for nothing that another lacks."""
        return sum(min(part.file_bytes(), part.file_bytes_needed) for part in self._parts)

    def drop_cached(self, start: int, num_bytes: int) -> None:
        """See FileMap.drop_cached."""
        for part, part_start in zip(self._parts, self.starts, strict=True):
            first, end = max(start - part_start, 0), min(start + num_bytes - part_start, part.data.size)
            if first < end:
                part.drop_cached(first, end - first)


def _map_again(part: FileMap, address: int) -> None:
    """Map a file once more in place of what lies at `address`: of a shared map, mremap of no bytes makes a second."""
    remap = libc().mremap
    remap.restype = ctypes.c_void_p
    remap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
    if remap(part.address, 0, part.data.size, _MAY_MOVE | _FIXED, address) != address:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

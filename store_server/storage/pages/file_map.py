"""Parts of files mapped read-only into memory."""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.errors import StorageFailure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.row_layout import RowLayout


@dataclass(frozen=True, slots=True)
class MappedRows:
    """The maps that hold the rows of a version, and how the rows lie in them.

    Whoever holds an array holds its map: a gather that runs while another thread lets go keeps its memory.
    """

    maps: tuple[FileMap, ...]
    layout: RowLayout


class FileMap:
    """Bytes of an open file from `offset`, the beginning of a page, as the flat read-only array `data`.

    The caller has checked that the file has them, and may close it. Raises StorageFailure.

    A map keeps one file descriptor, for `file_bytes`: `mmap` duplicates it. A node has as many as it has files open,
    often thousands, and what else needs one opens the file anew.
    """

    def __init__(self, path: Path, descriptor: int, num_bytes: int, *, offset: int = 0) -> None:
        try:
            self._mapped = mmap.mmap(descriptor, num_bytes, prot=mmap.PROT_READ, offset=offset)
        except (OSError, ValueError) as error:
            raise StorageFailure(path, f"cannot be mapped: {error}") from error
        self._mapped.madvise(mmap.MADV_RANDOM)  # read-ahead around a row fetches pages that nobody asked for
        self.path, self.offset = path, offset
        self.data: NDArray[np.uint8] = np.frombuffer(self._mapped, np.uint8)
        self.address = self.data.ctypes.data
        self.file_bytes_needed = offset + num_bytes

    def file_bytes(self) -> int:
        """Return the size of the file now: to touch the map where the file was cut short is SIGBUS."""
        return self._mapped.size()

    def refuse_huge_pages(self) -> None:
        """Have pages mapped one by one: of a huge one the kernel unmaps all or nothing."""
        with contextlib.suppress(OSError):  # a kernel that has none
            self._mapped.madvise(mmap.MADV_NOHUGEPAGE)

    def drop_cached(self, start: int, num_bytes: int) -> None:
        """Let the page cache forget pages of a range that no process has mapped. Raises OSError.

        If another file has taken the place of this one meanwhile, its pages are forgotten; that only costs time.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, self.offset + start, num_bytes, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

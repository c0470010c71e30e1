"""The kinds of data files a version can have. A new kind joins by one entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from store_server.storage.files.flat_file import FlatFileWriter, check_flat_structure, flat_offsets
from store_server.storage.files.lmdb_file import LmdbFileWriter, check_lmdb_structure, lmdb_offsets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from store_server.storage.manifest import TableSpec
    from store_server.storage.stored_version import StoredVersion


class DataFileWriter(Protocol):
    """Writes the blocks of a version in order; every method may raise OSError."""

    def write(self, block: NDArray[np.uint8]) -> None:
        """Append one block (rows, row_bytes) uint8, C-contiguous; all but the last hold block_rows rows."""
        ...

    def finish(self) -> None:
        """Close the file, complete but not yet synced."""
        ...

    def abandon(self) -> None:
        """Close the file, whatever it holds. May follow `finish`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFileKind:
    """Name, readers and writer of one kind of data file.

    `offsets` finds the byte at which each block begins, (num_blocks,) int64; `check_structure` looks at all that is not
    rows. Both raise TableDamaged.
    """

    file_name: str
    offsets: Callable[[StoredVersion], NDArray[np.int64]]
    check_structure: Callable[[StoredVersion], None]
    writer: Callable[[Path, TableSpec, int], DataFileWriter]


DATA_FILE_KINDS = {
    "mmap": DataFileKind(
        file_name="rows.bin", offsets=flat_offsets, check_structure=check_flat_structure, writer=FlatFileWriter
    ),
    "lmdb": DataFileKind(
        file_name="rows.lmdb", offsets=lmdb_offsets, check_structure=check_lmdb_structure, writer=LmdbFileWriter
    ),
}

"""The files that hold the rows of a version, opened: its own data file, or those of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from store_server.storage.files.block_file import BlockFile
from store_server.storage.files.block_places import block_places
from store_server.storage.files.segment_files import SegmentFiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from store_server.storage.pages.file_map import MappedRows
    from store_server.storage.stored_version import StoredVersion


class VersionFiles(Protocol):
    """Files that are open. Reading raises TableDamaged and StorageFailure."""

    def opened(self) -> Iterable[tuple[int, Path]]:
        """Return their descriptors, and the names by which they were opened."""
        ...

    def map(self) -> MappedRows:
        """Map the rows as they lie; the maps outlive `close`."""
        ...

    def may_ask_for_residency(self) -> bool:
        """Tell whether the kernel will say which pages of the files are in RAM."""
        ...

    def read_checked_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        """Read one block into `rows` (rows_in_block, row_bytes) uint8, C-contiguous.

        Raises BlockDamaged when it has not the digest of the manifest.
        """
        ...

    def close(self) -> None:
        """Close the files. May be called again."""
        ...


def open_files(stored: StoredVersion) -> VersionFiles:
    """Open the files of a version; raises TableDamaged, StorageFailure and PackageMissing."""
    if stored.manifest.is_attached:
        return SegmentFiles(stored)
    return BlockFile(stored, block_places(stored))

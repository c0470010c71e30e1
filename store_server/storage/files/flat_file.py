"""The data file of the `mmap` backend: rows one behind the other, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.durable import reserve_space

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.manifest import TableSpec
    from store_server.storage.stored_version import StoredVersion


def flat_offsets(stored: StoredVersion) -> NDArray[np.int64]:
    """Return where each block begins in a flat file, (num_blocks,) int64."""
    manifest = stored.manifest
    return np.arange(manifest.num_blocks, dtype=np.int64) * (manifest.block_rows * manifest.row_bytes)


def check_flat_structure(stored: StoredVersion) -> None:
    """Do nothing: there is nothing but rows in a flat file."""


class FlatFileWriter:
    """Writes blocks in order. The whole file is reserved at the start, so that a full disk fails then (OSError)."""

    def __init__(self, path: Path, spec: TableSpec, block_rows: int) -> None:  # noqa: ARG002  (the common signature)
        self.bytes_needed = spec.num_rows * spec.row_bytes
        reserve_space(path, self.bytes_needed)
        self._file = path.open("r+b", buffering=0)

    def write(self, block: NDArray[np.uint8]) -> None:
        """Append one block (rows, row_bytes); raises OSError."""
        view = block.data.cast("B")
        while len(view):
            view = view[self._file.write(view) :]

    def finish(self) -> None:
        """Close the file, complete but not yet synced."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file, whatever it holds."""
        self._file.close()

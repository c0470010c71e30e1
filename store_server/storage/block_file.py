"""Stored blocks read one by one, with their digests: for loading, copying and verifying.

Reading is by `pread`, not through a map: a bad disk is an exception here and would be SIGBUS there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.digests import block_digest
from store_server.storage.errors import BackendClosed, BlockDamaged, StorageFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.stored_version import StoredVersion


class BlockFile:
    """The data file of a version, opened for reading whole blocks. Raises TableDamaged and StorageFailure."""

    def __init__(self, stored: StoredVersion, offsets: NDArray[np.int64]) -> None:
        """`offsets` (num_blocks,) int64: the byte in the file at which each block begins."""
        self._stored = stored
        self._offsets = offsets
        try:
            self._file = stored.data_path.open("rb", buffering=0)
        except OSError as error:
            raise StorageFailure(stored.data_path, error.strerror or str(error)) from error

    def fileno(self) -> int:
        """Return the descriptor of the open file."""
        return self._file.fileno()

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield each block as a new array (rows, row_bytes) uint8, digests unchecked."""
        manifest = self._stored.manifest
        for block in range(manifest.num_blocks):
            rows = np.empty((manifest.rows_in_block(block), manifest.row_bytes), np.uint8)
            self.read_into(block, rows)
            yield rows

    def read_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        """Read one block into `rows` (rows_in_block, row_bytes) uint8, its digest unchecked."""
        if self._file.closed:
            raise BackendClosed(self._stored.table, self._stored.version)
        target = rows.data.cast("B")
        offset, done = int(self._offsets[block]), 0
        try:
            while done < len(target):
                count = os.preadv(self._file.fileno(), [target[done:]], offset + done)
                if count == 0:
                    raise self._stored.damaged(f"ends inside block {block}", expected=len(target), found=done)
                done += count
        except OSError as error:
            raise StorageFailure(self._stored.data_path, f"block {block}: {error.strerror or error}") from error

    def read_checked_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        """Read one block into `rows`; raises BlockDamaged when it has not the digest of the manifest."""
        self.read_into(block, rows)
        manifest = self._stored.manifest
        expected, found = manifest.block_digests[block], block_digest(rows)
        if expected != found:
            first_row = block * manifest.block_rows
            raise BlockDamaged(
                self._stored.table,
                self._stored.version,
                self._stored.data_path,
                block=block,
                first_row=first_row,
                last_row=first_row + manifest.rows_in_block(block) - 1,
                byte_offset=int(self._offsets[block]),
                expected=expected,
                found=found,
            )

    def close(self) -> None:
        """Close the file; reading afterwards raises BackendClosed."""
        self._file.close()

"""Stored blocks read one by one, with their digests: for loading, copying and verifying.

Reading is by `pread`, not through a map: a bad disk is an exception here and would be SIGBUS there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.digests import block_digest
from store_server.storage.errors import BlockDamaged, StorageFailure
from store_server.storage.pages.file_map import FileMap, MappedRows
from store_server.storage.pages.residency import may_ask_for_residency
from store_server.storage.row_layout import row_layout

if TYPE_CHECKING:
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

    def map(self) -> MappedRows:
        """See VersionFiles.map."""
        manifest = self._stored.manifest
        file_map = FileMap(self._stored.data_path, self._file.fileno(), manifest.data_bytes)
        return MappedRows((file_map,), row_layout(file_map.data, self._offsets, manifest))

    def may_ask_for_residency(self) -> bool:
        """See VersionFiles.may_ask_for_residency."""
        return may_ask_for_residency(self._file.fileno())

    def read_checked_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        """See VersionFiles.read_checked_into."""
        self._read_into(block, rows)
        check_block(self._stored, block, rows, byte_offset=int(self._offsets[block]))

    def close(self) -> None:
        """See VersionFiles.close."""
        self._file.close()

    def _read_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        try:
            found = read_all(self._file.fileno(), rows, int(self._offsets[block]))
        except OSError as error:
            raise StorageFailure(self._stored.data_path, f"block {block}: {error.strerror or error}") from error
        if found != rows.nbytes:
            raise self._stored.damaged(f"ends inside block {block}", expected=rows.nbytes, found=found)


def read_all(descriptor: int, target: NDArray[np.uint8], offset: int) -> int:
    """Read into a C-contiguous array from a place of an open file; returns how many there were. Raises OSError."""
    view, done = target.data.cast("B"), 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def check_block(stored: StoredVersion, block: int, rows: NDArray[np.uint8], *, byte_offset: int) -> None:
    """Raise BlockDamaged unless a block has its digest; an attached version has none before it was first verified."""
    manifest = stored.manifest
    if not manifest.block_digests:
        return
    expected, found = manifest.block_digests[block], block_digest(rows)
    if expected != found:
        first_row = block * manifest.block_rows
        raise BlockDamaged(
            stored.table,
            stored.version,
            stored.data_path,
            block=block,
            first_row=first_row,
            last_row=first_row + manifest.rows_in_block(block) - 1,
            byte_offset=byte_offset,
            expected=expected,
            found=found,
        )

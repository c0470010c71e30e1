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
from store_server.storage.pages.joined_map import JoinedMap
from store_server.storage.pages.residency import may_ask_for_residency
from store_server.storage.row_layout import row_layout

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.files.block_places import BlockPlaces
    from store_server.storage.stored_version import StoredVersion


class BlockFile:
    """The data file of a version, and that of its changed blocks, opened for reading whole blocks.

    Raises TableDamaged and StorageFailure.
    """

    def __init__(self, stored: StoredVersion, places: BlockPlaces) -> None:
        self._stored = stored
        self._places = places
        self._files: list[FileIO] = []
        try:
            for path in places.paths:
                self._files.append(_opened(path))
        except BaseException:
            self.close()
            raise

    def opened(self) -> Iterable[tuple[int, Path]]:
        """See VersionFiles.opened."""
        return [(file.fileno(), path) for file, path in zip(self._files, self._places.paths, strict=True)]

    def map(self) -> MappedRows:
        """See VersionFiles.map. Two files are mapped one behind the other, so that one gather serves both."""
        places = self._places
        maps = [
            FileMap(path, file.fileno(), size)
            for path, file, size in zip(places.paths, self._files, places.file_bytes, strict=True)
        ]
        if len(maps) == 1:
            return MappedRows((maps[0],), row_layout(maps[0].data, places.offsets, self._stored.manifest))
        joined = JoinedMap(self._stored.directory, maps)
        offsets = places.offsets + np.array(joined.starts)[places.file_of]
        return MappedRows((joined,), row_layout(joined.data, offsets, self._stored.manifest))

    def may_ask_for_residency(self) -> bool:
        """See VersionFiles.may_ask_for_residency."""
        return all(may_ask_for_residency(file.fileno()) for file in self._files)

    def read_checked_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        """See VersionFiles.read_checked_into."""
        number, offset = int(self._places.file_of[block]), int(self._places.offsets[block])
        path = self._places.paths[number]
        try:
            found = read_all(self._files[number].fileno(), rows, offset)
        except OSError as error:
            raise StorageFailure(path, f"block {block}: {error.strerror or error}") from error
        if found != rows.nbytes:
            raise self._stored.damaged(f"ends inside block {block}", path=path, expected=rows.nbytes, found=found)
        check_block(self._stored, block, rows, path=path, byte_offset=offset)

    def close(self) -> None:
        """See VersionFiles.close."""
        for file in self._files:
            file.close()


def _opened(path: Path) -> FileIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error


def read_all(descriptor: int, target: NDArray[np.uint8], offset: int) -> int:
    """Read into a C-contiguous array from a place of an open file; returns how many there were. Raises OSError."""
    view, done = target.data.cast("B"), 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def check_block(stored: StoredVersion, block: int, rows: NDArray[np.uint8], *, path: Path, byte_offset: int) -> None:
    """Raise BlockDamaged unless a block, read from `path`, has its digest.

    An attached version has none before it was first verified.
    """
    manifest = stored.manifest
    if not manifest.block_digests:
        return
    expected, found = manifest.block_digests[block], block_digest(rows)
    if expected != found:
        first_row = block * manifest.block_rows
        raise BlockDamaged(
            stored.table,
            stored.version,
            path,
            block=block,
            first_row=first_row,
            last_row=first_row + manifest.rows_in_block(block) - 1,
            byte_offset=byte_offset,
            expected=expected,
            found=found,
        )

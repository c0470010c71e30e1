"""The checkpoint files of an attached version: found unchanged, read block by block, mapped as they lie."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.errors import FilesChanged, InvalidSource, StorageFailure, TableDamaged
from store_server.storage.files.block_file import check_block, read_all
from store_server.storage.files.safetensors_file import digest_of_header, read_header
from store_server.storage.pages.file_map import FileMap, MappedRows
from store_server.storage.pages.residency import may_ask_for_residency
from store_server.storage.row_layout import SegmentedRows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO

    from numpy.typing import NDArray

    from store_server.storage.segment import Segment
    from store_server.storage.stored_version import StoredVersion


class SegmentFiles:
    """The open files of all segments of a version, each a file of the size, time and header that were attached.

    Raises FilesChanged, TableDamaged for another header, and StorageFailure.
    """

    def __init__(self, stored: StoredVersion) -> None:
        self._stored = stored
        self._segments = stored.manifest.segments
        self._files: list[FileIO] = []
        try:
            for segment in self._segments:
                self._files.append(_open(stored, segment))
                _check_header(stored, segment, self._files[-1])
        except BaseException:
            self.close()
            raise

    def opened(self) -> Iterable[tuple[int, Path]]:
        """See VersionFiles.opened."""
        return [(file.fileno(), Path(segment.path)) for file, segment in zip(self._files, self._segments, strict=True)]

    def map(self) -> MappedRows:
        """See VersionFiles.map. Only the pages of the tensors are mapped, whatever else the files hold."""
        num_rows = self._stored.manifest.num_rows
        maps, tables, leads = [], [], []
        for segment, file in zip(self._segments, self._files, strict=True):
            lead = segment.offset % mmap.ALLOCATIONGRANULARITY
            num_bytes = num_rows * segment.row_bytes
            maps.append(FileMap(Path(segment.path), file.fileno(), lead + num_bytes, offset=segment.offset - lead))
            tables.append(maps[-1].data[lead:].reshape(num_rows, segment.row_bytes))
            leads.append(lead)
        return MappedRows(tuple(maps), SegmentedRows(tables, leads))

    def may_ask_for_residency(self) -> bool:
        """See VersionFiles.may_ask_for_residency."""
        return all(may_ask_for_residency(file.fileno()) for file in self._files)

    def read_checked_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        """See VersionFiles.read_checked_into. The digest is that of the packed rows, as if they had been imported."""
        self._read_into(block, rows)
        first, first_row = self._segments[0], block * self._stored.manifest.block_rows
        byte_offset = first.offset + first_row * first.row_bytes
        check_block(self._stored, block, rows, path=self._stored.data_path, byte_offset=byte_offset)

    def close(self) -> None:
        """See VersionFiles.close."""
        for file in self._files:
            file.close()

    def _read_into(self, block: int, rows: NDArray[np.uint8]) -> None:
        column, first_row = 0, block * self._stored.manifest.block_rows
        for segment, file in zip(self._segments, self._files, strict=True):
            part = np.empty((len(rows), segment.row_bytes), np.uint8)
            self._read_part(segment, file, part, first_row)
            rows[:, column : column + segment.row_bytes] = part
            column += segment.row_bytes

    def _read_part(self, segment: Segment, file: FileIO, part: NDArray[np.uint8], first_row: int) -> None:
        try:
            found = read_all(file.fileno(), part, segment.offset + first_row * segment.row_bytes)
        except OSError as error:
            raise StorageFailure(Path(segment.path), f"row {first_row}: {error.strerror or error}") from error
        if found != part.nbytes:
            detail = f"tensor {segment.tensor!r} ends inside the rows from {first_row} on"
            raise _damaged(self._stored, segment, detail, part.nbytes, found)


def check_unchanged(stored: StoredVersion) -> None:
    """Raise FilesChanged unless the files of all segments have the size and time that were attached; reads nothing."""
    for segment in stored.manifest.segments:
        try:
            status = Path(segment.path).stat()
        except OSError as error:
            raise _not_there(stored, segment, error) from error
        _check_status(stored, segment, status)


def _open(stored: StoredVersion, segment: Segment) -> FileIO:
    try:
        return Path(segment.path).open("rb", buffering=0)
    except OSError as error:
        raise _not_there(stored, segment, error) from error


def _check_header(stored: StoredVersion, segment: Segment, file: FileIO) -> None:
    """Raise TableDamaged unless the open file is the one that was attached."""
    try:
        status = os.fstat(file.fileno())
        _check_status(stored, segment, status)
        found = digest_of_header(read_header(Path(segment.path), file.fileno(), status.st_size))
    except InvalidSource as error:
        raise _damaged(stored, segment, str(error)) from error
    except OSError as error:
        raise StorageFailure(Path(segment.path), error.strerror or str(error)) from error
    if found != segment.header_digest:
        raise _damaged(stored, segment, "the header was changed since it was attached", segment.header_digest, found)


def _check_status(stored: StoredVersion, segment: Segment, status: os.stat_result) -> None:
    if status.st_size != segment.file_bytes:
        detail = "the file has another size than when it was attached"
        raise _changed(stored, segment, detail, segment.file_bytes, status.st_size)
    if status.st_mtime_ns != segment.mtime_ns:
        detail = "the file was written to since it was attached (its time in ns differs); attach it again"
        raise _changed(stored, segment, detail, segment.mtime_ns, status.st_mtime_ns)


def _not_there(stored: StoredVersion, segment: Segment, error: OSError) -> FilesChanged | StorageFailure:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _changed(stored, segment, "the file is missing")
    return StorageFailure(Path(segment.path), error.strerror or str(error))


def _changed(
    stored: StoredVersion, segment: Segment, detail: str, expected: int | None = None, found: int | None = None
) -> FilesChanged:
    return FilesChanged(stored.table, stored.version, Path(segment.path), detail, expected=expected, found=found)


def _damaged(
    stored: StoredVersion,
    segment: Segment,
    detail: str,
    expected: int | str | None = None,
    found: int | str | None = None,
) -> TableDamaged:
    return TableDamaged(stored.table, stored.version, Path(segment.path), detail, expected=expected, found=found)

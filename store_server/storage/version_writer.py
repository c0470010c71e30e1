"""Writes one version, streamed: rows go into blocks, blocks into a staging directory, which is then published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.data_root import MANIFEST
from store_server.storage.digests import block_digest
from store_server.storage.durable import disk_errors_named, sync_directory, sync_file, write_new_file
from store_server.storage.errors import IncompleteVersion, InvalidTableSpec, StorageError
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.manifest import Manifest, TableSpec, default_block_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.files.data_file import DataFileWriter


class VersionWriter:
    """Takes the rows of a version in order, in pieces of any size, and publishes them. Holds one block of rows.

    Made by RootWriter.new_version.
    """

    def __init__(
        self,
        table: str,
        spec: TableSpec,
        backend: str,
        staging: Path,
        publish: Callable[[Path, Manifest], bool],
    ) -> None:
        """Open the data file in `staging`. Raises DiskFull.

        `publish` moves the finished directory into place and returns whether that changed anything.
        """
        if backend not in DATA_FILE_KINDS:
            raise InvalidTableSpec(f"backend must be one of {', '.join(DATA_FILE_KINDS)}, got {backend!r}")
        self._table, self._spec, self._backend, self._staging = table, spec, backend, staging
        self._publish = publish
        self.is_unchanged = False
        """Whether `publish` found the very same version, current and intact, and left it alone."""
        self._block_rows = default_block_rows(spec.row_bytes)
        self._block = np.empty((min(self._block_rows, spec.num_rows), spec.row_bytes), np.uint8)
        self._rows_in_block = 0
        self._num_rows = 0
        self._digests: list[str] = []
        self._data_path = staging / DATA_FILE_KINDS[backend].file_name
        self._file: DataFileWriter | None = None
        with disk_errors_named(staging, bytes_needed=spec.num_rows * spec.row_bytes):
            self._file = DATA_FILE_KINDS[backend].writer(self._data_path, spec, self._block_rows)

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Add rows (n, row_bytes) uint8, any n.

        Raises ValueError for another shape or type, IncompleteVersion when the table is full, DiskFull.
        """
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != self._spec.row_bytes:
            raise ValueError(f"rows must be uint8 (n, {self._spec.row_bytes}), got {rows.dtype} {rows.shape}")
        if self._num_rows + len(rows) > self._spec.num_rows:
            raise IncompleteVersion(self._table, self._spec.num_rows, self._num_rows + len(rows))
        self._num_rows += len(rows)
        while len(rows):
            taken = min(len(rows), len(self._block) - self._rows_in_block)
            self._block[self._rows_in_block : self._rows_in_block + taken] = rows[:taken]
            self._rows_in_block += taken
            rows = rows[taken:]
            if self._rows_in_block == len(self._block):
                self._write_block()

    def publish(self) -> str:
        """Complete the version, make it durable, move it into place, make it current; returns its name.

        Raises IncompleteVersion when rows are missing, and DiskFull.
        """
        if self._file is None:
            raise StorageError(f"the version of table {self._table!r} was published or discarded already")
        if self._num_rows != self._spec.num_rows:
            raise IncompleteVersion(self._table, self._spec.num_rows, self._num_rows)
        if self._rows_in_block:
            self._write_block()
        with disk_errors_named(self._staging):
            self._file.finish()
            self._file = None
            manifest = self._manifest()
            write_new_file(self._staging / MANIFEST, manifest.to_json())
            sync_file(self._data_path)
            sync_directory(self._staging)
            self.is_unchanged = not self._publish(self._staging, manifest)
        return manifest.version

    def discard(self) -> None:
        """Close the data file, if it is open still."""
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _write_block(self) -> None:
        if self._file is None:
            raise StorageError(f"the version of table {self._table!r} was published or discarded already")
        block = self._block[: self._rows_in_block]
        self._digests.append(block_digest(block))
        with disk_errors_named(self._staging, bytes_needed=self._spec.num_rows * self._spec.row_bytes):
            self._file.write(block)
        self._rows_in_block = 0

    def _manifest(self) -> Manifest:
        return Manifest(
            num_rows=self._spec.num_rows,
            row_bytes=self._spec.row_bytes,
            row_format=self._spec.row_format,
            fingerprint=self._spec.fingerprint,
            backend=self._backend,
            data_bytes=self._data_path.stat().st_size,
            block_rows=self._block_rows,
            block_digests=tuple(self._digests),
        )

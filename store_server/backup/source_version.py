"""A version of the data root that is backed up, opened: it can be read to its end though it is dropped meanwhile."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

import numpy as np

from store_server.storage import BlockDamaged, StorageError, StorageFailure, TableNotFound, VersionNotFound
from store_server.storage.block_writer import BlockWriter
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import is_published_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from store_server.storage import DataRoot
    from store_server.storage.stored_version import StoredVersion


class VersionGone(Exception):
    """A version was dropped before it could be opened, or what a node had of it was taken away."""


class SourceUnreadable(Exception):
    """A version cannot be backed up; `error` says which file is wrong and how."""

    def __init__(self, error: StorageError) -> None:
        self.error = error
        super().__init__(str(error))


class SourceVersion:
    """`held` says which blocks there were at the opening, (num_blocks,); `is_whole` that none was ever lacking."""

    def __init__(self, root: DataRoot, table: str, version: str) -> None:
        """Raises VersionGone, SourceUnreadable.

        One in quarantine is read as any other: what tells whether it is sound are its digests.
        """
        with contextlib.ExitStack() as stack, _told_apart(root, table, version):
            self.stored: StoredVersion = root.stored_version(table, version, also_quarantined=True)
            self.is_whole = is_published_whole(self.stored)
            self._directory = stack.enter_context(BlockWriter(self.stored))  # knows it wherever it is moved
            self.held = self._directory.held()
            self._files = stack.enter_context(contextlib.closing(open_files(self.stored)))
            if not self.stored.directory.is_dir():
                raise VersionGone
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read_bytes(self, offset: int, num_bytes: int) -> bytes:
        """Return bytes of the data file as they lie. Raises SourceUnreadable."""
        descriptor, path = next(iter(self._files.opened()))
        try:
            data = os.pread(descriptor, num_bytes, offset)
        except OSError as error:
            raise SourceUnreadable(StorageFailure(path, error.strerror or str(error))) from error
        if not data:
            raise SourceUnreadable(self.stored.damaged("ends too early", expected=num_bytes, found=0))
        return data

    def read(self, blocks: Sequence[int]) -> dict[int, bytes]:
        """Return blocks by their numbers, each with the digest it was published with; those given up meanwhile not.

        Raises VersionGone, SourceUnreadable.
        """
        manifest, got = self.stored.manifest, {}
        for block in blocks:
            rows = np.empty((manifest.rows_in_block(block), manifest.row_bytes), np.uint8)
            try:
                self._files.read_checked_into(block, rows)
            except BlockDamaged as error:
                if self._is_held_still(block):
                    raise SourceUnreadable(error) from error
                continue
            except StorageError as error:
                raise SourceUnreadable(error) from error
            got[block] = rows.tobytes()
        return got

    def still_held(self) -> NDArray[np.bool_]:
        """Return which of the blocks are there now, (num_blocks,). Raises SourceUnreadable."""
        try:
            return self.held & self._directory.held()
        except StorageError as error:
            raise SourceUnreadable(error) from error

    def _is_held_still(self, block: int) -> bool:
        is_held = bool(self.still_held()[block])
        if not self.is_whole and not self.stored.directory.is_dir():  # held.json has gone with all else
            raise VersionGone
        return is_held


@contextlib.contextmanager
def _told_apart(root: DataRoot, table: str, version: str) -> Iterator[None]:
    """Make of an error that the version is gone, if it is."""
    try:
        yield
    except StorageError as error:
        try:
            root.version_path(table, version)
        except (TableNotFound, VersionNotFound):
            raise VersionGone from error
        except StorageError:
            pass  # it cannot be looked for either
        raise SourceUnreadable(error) from error

"""The files of a version that is being backed up: they lie as they do in the data root it comes from.

Versions that share a file there share it in the backup, so that a table with many patches takes no more room in it.

A file of LMDB is copied as it lies, byte by byte: once published it never changes, so nobody can be writing to it, and
LMDB's own copy could put blocks elsewhere. Its B-tree and every block are looked at afterwards.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from store_server.storage import StorageError
from store_server.storage.changed_blocks import CHANGED
from store_server.storage.durable import disk_errors_named
from store_server.storage.shared_file import could_link
from store_server.storage.sparse_file import make_sparse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store_server.backup.source_version import SourceVersion
    from store_server.storage import DataRoot, Manifest
    from store_server.storage.stored_version import StoredVersion

_APPENDED: Final = "lmdb"  # where blocks lie can be told only once the whole file is there


def twin_of(stored: StoredVersion, root: DataRoot, to: DataRoot) -> StoredVersion | None:
    """Return the copy of a version that has the same data file in `root`, from `to`; None if there is none.

    Only of one that lies there as it does here: in the file of any other, blocks might be others.
    """
    for version in root.readable_versions(stored.table):
        try:
            here, there = root.stored_version(stored.table, version), to.stored_version(stored.table, version)
            if here.manifest == there.manifest and here.data_path.samefile(stored.data_path):
                return there
        except (StorageError, OSError):  # not there yet, dropped, or damaged: then nothing is shared
            continue
    return None


def make_files(stored: StoredVersion, twin: StoredVersion | None, directory: Path) -> Manifest:
    """Make the files of a version in a directory, without its rows, or with those of a twin; returns its manifest."""
    manifest, data_path = stored.manifest, directory / stored.data_path.name
    if twin is None or not could_link(twin.data_path, data_path):
        make_sparse(data_path, 0 if manifest.backend == _APPENDED else manifest.data_bytes)
    if manifest.changed is not None:
        make_sparse(directory / CHANGED, manifest.changed.file_bytes)
    return manifest


def complete_file(source: SourceVersion, target: Path, moved: Callable[[int, int], None], *, piece_bytes: int) -> None:
    """Append what is missing to a data file copied whole; `moved` hears how long each piece was, and the file is.

    Each piece is durable before the next one, and what a power cut may have left of the last is copied again. Raises
    DiskFull, StorageFailure, RootNotWritable.
    """
    manifest = source.stored.manifest
    with disk_errors_named(target, bytes_needed=manifest.data_bytes):
        if manifest.backend != _APPENDED or target.stat().st_size == manifest.data_bytes:
            return
        with target.open("r+b", buffering=0) as file:
            done = max(0, file.seek(0, os.SEEK_END) - piece_bytes)
            while done < manifest.data_bytes:
                num_bytes = _copy_piece(source, file.fileno(), done, piece_bytes)
                os.fdatasync(file.fileno())
                done += num_bytes
                moved(num_bytes, done)


def _copy_piece(source: SourceVersion, target: int, offset: int, piece_bytes: int) -> int:
    piece = memoryview(source.read_bytes(offset, min(piece_bytes, source.stored.manifest.data_bytes - offset)))
    written = 0
    while written < len(piece):
        written += os.pwrite(target, piece[written:], offset + written)
    return written

"""How much room a backup takes beside what of it is there already."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage import StorageError
from store_server.storage.arrivals import home_of
from store_server.storage.changed_blocks import CHANGED
from store_server.storage.held_blocks import held_blocks, held_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from store_server.storage import DataRoot
    from store_server.storage.stored_version import StoredVersion

_BYTES_A_STATUS_BLOCK = 512


def bytes_lacking(root: DataRoot, to: DataRoot, versions: Iterable[tuple[str, str]]) -> int:
    """Return how many bytes the rows of versions (table, version) will take in `to` that they do not take yet.

    A file that several of them share counts once. What cannot be read counts for nothing: to copy it says why.
    """
    counted: set[tuple[int, int]] = set()
    lacking = 0
    for table, version in versions:
        with suppress(StorageError, OSError):
            stored = root.stored_version(table, version, also_quarantined=True)
            if not stored.manifest.is_attached:
                lacking += _lacking(stored, to, counted)
    return lacking


def _lacking(stored: StoredVersion, to: DataRoot, counted: set[tuple[int, int]]) -> int:
    manifest, is_held = stored.manifest, held_blocks(stored)
    are_changed = np.zeros(manifest.num_blocks, np.bool_)
    if manifest.changed is not None:
        are_changed = manifest.changed.are_changed(manifest.num_blocks)
    file = stored.data_path.stat()
    is_counted = (file.st_dev, file.st_ino) in counted
    counted.add((file.st_dev, file.st_ino))
    home = home_of(to, stored.table, stored.version)
    if home is to:
        is_there = held_blocks(to.stored_version(stored.table, stored.version, also_quarantined=True))
        return held_bytes(manifest, is_held & ~is_there)
    directory = None if home is None else home.version_path(stored.table, stored.version)
    rows = 0 if is_counted else _bytes_of_data_file(stored, held_bytes(manifest, is_held & ~are_changed))
    return _beside(directory, stored.data_path.name, rows) + _beside(
        directory, CHANGED, held_bytes(manifest, is_held & are_changed)
    )


def _bytes_of_data_file(stored: StoredVersion, num_bytes: int) -> int:
    return num_bytes if stored.manifest.backend == "mmap" else stored.manifest.data_bytes


def _beside(directory: Path | None, name: str, num_bytes: int) -> int:
    """Return what of so many bytes a file does not take yet."""
    if directory is None or not (directory / name).exists():
        return num_bytes
    return max(0, num_bytes - (directory / name).stat().st_blocks * _BYTES_A_STATUS_BLOCK)

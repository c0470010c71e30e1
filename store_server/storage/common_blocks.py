"""A version on its way shares the file of one that is here already, if most of its blocks are the same.

So the next version of a table costs a node what changed, on the wire and on the disk, however it was made: a patch, or
an import of a table of which little is new. The file of the other version gets a second name, and blocks that differ
lie beside it as those of a patch do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from store_server.storage.block_writer import BlockWriter
from store_server.storage.changed_blocks import ChangedBlocks, bytes_before_changed
from store_server.storage.errors import StorageError, TableDamaged
from store_server.storage.held_blocks import held_bytes, ranges_of
from store_server.storage.shared_file import could_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.data_root import DataRoot
    from store_server.storage.manifest import Manifest
    from store_server.storage.stored_version import StoredVersion

_FLAT: Final = "mmap"


class Kin(NamedTuple):
    """A version that is here, and how another one lies if it shares its file."""

    stored: StoredVersion
    manifest: Manifest
    """Of the other one."""
    are_common: NDArray[np.bool_]
    """Which blocks lie in the file of both, (num_blocks,)."""


def nearest_kin(root: DataRoot, name: str, manifest: Manifest) -> Kin | None:
    """Return the version of a table that has most in common with a flat one that is not here; None if less than half.

    Only what lies in a data file can be shared, not what a patch put beside it.
    """
    nearest = max(_kin(root, name, manifest), key=lambda kin: int(kin.are_common.sum()), default=None)
    if nearest is None or 2 * int(nearest.are_common.sum()) < manifest.num_blocks:
        return None
    return nearest


def share_file(kin: Kin, target: Path, *, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Give the file of a version the second name `target`, so that nothing of it is given back any more.

    The blocks in it count as held only once they were read: they were checked when they came, which may be long ago.
    False where the version is gone meanwhile, or damaged, or the file system gives no second names. Raises
    StorageError.
    """
    try:
        with BlockWriter(kin.stored) as writer, writer.kept():
            return could_link(kin.stored.data_path, target, link=link)
    except TableDamaged:
        return False
    except StorageError:
        if kin.stored.data_path.exists():
            raise
        return False


def _kin(root: DataRoot, name: str, manifest: Manifest) -> Iterator[Kin]:
    digests = np.array(manifest.block_digests)
    for version in root.readable_versions(name):
        with contextlib.suppress(StorageError):  # what is damaged or just being removed is nobody's kin
            stored = root.stored_version(name, version)
            if _is_cut_alike(stored.manifest, manifest):
                yield _as_kin(stored, manifest, digests)


def _is_cut_alike(one: Manifest, other: Manifest) -> bool:
    return (
        one.backend == _FLAT
        and (one.num_rows, one.row_bytes, one.block_rows) == (other.num_rows, other.row_bytes, other.block_rows)
        and len(one.block_digests) == len(other.block_digests)
    )


def _as_kin(stored: StoredVersion, manifest: Manifest, digests: NDArray[np.str_]) -> Kin:
    are_common = np.array(stored.manifest.block_digests) == digests
    if stored.manifest.changed is not None:
        are_common &= ~stored.manifest.changed.are_changed(manifest.num_blocks)
    ranges = tuple(ranges_of(~are_common))
    flat = dataclasses.replace(manifest, backend=_FLAT, data_bytes=manifest.num_bytes, changed=None)
    if ranges:
        file_bytes = bytes_before_changed(flat, first_offset=0) + held_bytes(flat, ~are_common)
        flat = dataclasses.replace(flat, changed=ChangedBlocks(ranges=ranges, file_bytes=file_bytes))
    return Kin(stored, flat, are_common)

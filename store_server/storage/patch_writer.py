"""Writes a version in which some rows of another one are replaced, at the cost of the blocks that hold them.

The new version has the data file of the other by a second name, and beside it the blocks that changed. Those that an
earlier patch had changed are written again with them, so that a version never has more than two files; once more than
half of the blocks would lie there, all are written into a data file of their own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from store_server.storage.block_writer import BlockWriter
from store_server.storage.changed_blocks import CHANGED, ChangedBlocks, bytes_before_changed
from store_server.storage.data_root import MANIFEST
from store_server.storage.digests import block_digest
from store_server.storage.durable import disk_errors_named, reserve_space, sync_directory, write_new_file
from store_server.storage.errors import InvalidPatch
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import ranges_of
from store_server.storage.manifest import TableSpec, default_block_rows
from store_server.storage.shared_file import link_or_copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.files.version_files import VersionFiles
    from store_server.storage.manifest import Manifest
    from store_server.storage.root_writer import RootWriter
    from store_server.storage.row_patch import RowPatch
    from store_server.storage.stored_version import StoredVersion


class PatchOutcome(NamedTuple):
    """What a patch came to: the version that is current now, and what it cost.

    `is_whole`: all blocks were written anew; `is_copied`: the data file had to be copied. `bytes_written` leaves the
    manifest out.
    """

    version: str
    is_unchanged: bool
    rows_changed: int
    blocks_changed: int
    bytes_written: int
    is_whole: bool = False
    is_copied: bool = False


def require_patchable(stored: StoredVersion) -> None:
    """Raise InvalidPatch for a version whose files are not ours, VersionUnavailable for one that is held in part."""
    if stored.manifest.is_attached:
        raise InvalidPatch(
            f"table {stored.table!r} version {stored.version} lies in files of a checkpoint, which are not ours to "
            "share: `import` it first, and patch that"
        )
    with BlockWriter(stored) as blocks, blocks.kept_whole():
        pass


def write_patch(
    writer: RootWriter, stored: StoredVersion, patch: RowPatch, *, link: Callable[[Path, Path], None] = os.link
) -> PatchOutcome:
    """Make the version current that has the rows of `patch` and all others from `stored`, which lies in the same root.

    It has the name that an import of all its rows would get. `link` gives a file a second name. Raises as
    `require_patchable` does, and BlockDamaged, TableDamaged, DiskFull, RootNotWritable.
    """
    require_patchable(stored)
    with contextlib.closing(open_files(stored)) as files:
        blocks = _PatchedBlocks(stored, files, patch)
        if blocks.stay_as_they_are():
            is_switched = writer.make_current(stored.table, stored.version)
            return PatchOutcome(stored.version, not is_switched, 0, 0, 0)
        if blocks.are_few():
            return _put_beside(writer, blocks, link)
        return _write_all(writer, blocks)


class _PatchedBlocks:
    """The blocks of a version with the rows of a patch in them."""

    def __init__(self, stored: StoredVersion, files: VersionFiles, patch: RowPatch) -> None:
        self.stored, self._files, self._patch = stored, files, patch
        manifest = stored.manifest
        self.were_changed = np.zeros(manifest.num_blocks, np.bool_)
        if manifest.changed is not None:
            self.were_changed = manifest.changed.are_changed(manifest.num_blocks)
        self.may_change = self.were_changed.copy()
        self.may_change[patch.blocks(manifest.block_rows)] = True
        self.rows_changed = self.blocks_changed = 0
        self._rows = np.empty((manifest.rows_in_block(0), manifest.row_bytes), np.uint8)

    def stay_as_they_are(self) -> bool:
        """Tell whether the patch changes no row: then nothing is written, though most blocks were changed before it."""
        manifest = self.stored.manifest
        return not any(
            self._patch.replace_in(self._unpatched(block), block * manifest.block_rows)
            for block in self._patch.blocks(manifest.block_rows).tolist()
        )

    def are_few(self) -> bool:
        """Tell whether the blocks may lie beside the data file. One cut into other blocks is written anew: its name."""
        manifest = self.stored.manifest
        return (
            2 * int(self.may_change.sum()) <= manifest.num_blocks
            and default_block_rows(manifest.row_bytes) == manifest.block_rows
        )

    def rows_of(self, block: int) -> NDArray[np.uint8]:
        """Return the rows of a block (n, row_bytes); the memory is reused."""
        rows = self._unpatched(block)
        num_changed = self._patch.replace_in(rows, block * self.stored.manifest.block_rows)
        self.rows_changed += num_changed
        self.blocks_changed += num_changed > 0
        return rows

    def _unpatched(self, block: int) -> NDArray[np.uint8]:
        rows = self._rows[: self.stored.manifest.rows_in_block(block)]
        self._files.read_checked_into(block, rows)
        return rows


def _put_beside(writer: RootWriter, blocks: _PatchedBlocks, link: Callable[[Path, Path], None]) -> PatchOutcome:
    stored = blocks.stored
    with writer.staging_directory() as staging, disk_errors_named(writer.root.path):
        manifest, changed = _write_changed(blocks, staging / CHANGED)
        with BlockWriter(stored) as held, held.kept_whole():
            is_linked = link_or_copy(stored.data_path, staging / stored.data_path.name, link=link)
        write_new_file(staging / MANIFEST, manifest.to_json())
        sync_directory(staging)
        is_switched = writer.publish_patch(stored.table, staging, manifest)
    return PatchOutcome(
        manifest.version,
        not is_switched,
        blocks.rows_changed,
        blocks.blocks_changed,
        changed.file_bytes + (0 if is_linked else manifest.data_bytes),
        is_copied=not is_linked,
    )


def _write_changed(blocks: _PatchedBlocks, path: Path) -> tuple[Manifest, ChangedBlocks]:
    """Write the blocks that are not as in the data file, durably; returns the manifest of the version with them."""
    manifest = blocks.stored.manifest
    block_bytes = manifest.block_rows * manifest.row_bytes
    first_offset = int(DATA_FILE_KINDS[manifest.backend].offsets(blocks.stored)[0])
    lead_bytes = bytes_before_changed(manifest, first_offset=first_offset)
    digests, are_changed = list(manifest.block_digests), blocks.were_changed.copy()
    reserve_space(path, lead_bytes + int(blocks.may_change.sum()) * block_bytes)
    with path.open("r+b") as file:
        file.seek(lead_bytes)
        for block in np.flatnonzero(blocks.may_change).tolist():
            rows = blocks.rows_of(block)
            digest = block_digest(rows)
            if digest == digests[block] and not are_changed[block]:
                continue
            file.write(rows.data)
            digests[block], are_changed[block] = digest, True
        file_bytes = file.tell()
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    changed = ChangedBlocks(ranges=tuple(ranges_of(are_changed)), file_bytes=file_bytes)
    return dataclasses.replace(manifest, block_digests=tuple(digests), changed=changed), changed


def _write_all(writer: RootWriter, blocks: _PatchedBlocks) -> PatchOutcome:
    stored, manifest = blocks.stored, blocks.stored.manifest
    spec = TableSpec(
        num_rows=manifest.num_rows,
        row_bytes=manifest.row_bytes,
        row_format=manifest.row_format,
        fingerprint=manifest.fingerprint,
    )
    with writer.new_version(stored.table, spec, backend=manifest.backend) as version:
        for block in range(manifest.num_blocks):
            version.append(blocks.rows_of(block))
        name = version.publish()
    return PatchOutcome(
        name,
        version.is_unchanged,
        blocks.rows_changed,
        blocks.blocks_changed,
        manifest.num_bytes,
        is_whole=True,
    )

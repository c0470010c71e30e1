"""Compares a stored version with the digests it was published with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.digests import block_digest
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.files.version_files import open_files
from store_server.storage.root_writer import root_writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.data_root import DataRoot
    from store_server.storage.stored_version import StoredVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyProgress:
    """How much of a version was read, and found intact, so far."""

    blocks_done: int
    num_blocks: int
    bytes_done: int
    num_bytes: int


def verify(root: DataRoot, name: str, version: str) -> Iterator[VerifyProgress]:
    """Read every block and yield the progress after each; a version that is intact runs to the end.

    An attached version has no digests at first: the first time, they are taken and kept, which needs the writer's lock
    on the data root; every later time compares with those. Raises BlockDamaged for the first block that is not what was
    published, TableDamaged for a manifest or a file that is not, and what DataRoot.manifest raises; the first time also
    RootBusy and RootNotWritable.
    """
    stored = root.stored_version(name, version)
    if stored.manifest.is_attached and not stored.manifest.block_digests:
        yield from _record(root, stored)
    else:
        yield from _compare(stored)


def _compare(stored: StoredVersion) -> Iterator[VerifyProgress]:
    if not stored.manifest.is_attached:
        DATA_FILE_KINDS[stored.manifest.backend].check_structure(stored)
    for _, progress in _checked_blocks(stored):
        yield progress


def _record(root: DataRoot, stored: StoredVersion) -> Iterator[VerifyProgress]:
    digests = []
    with root_writer(root.path) as writer:
        for rows, progress in _checked_blocks(stored):
            digests.append(block_digest(rows))
            yield progress
        root.stored_version(stored.table, stored.version)  # raises if a file was written to meanwhile
        writer.record_digests(stored.table, stored.version, digests)


def _checked_blocks(stored: StoredVersion) -> Iterator[tuple[NDArray[np.uint8], VerifyProgress]]:
    """Yield each block, compared with its digest if there is one, and the progress; the memory is reused."""
    manifest = stored.manifest
    rows = np.empty((min(manifest.block_rows, manifest.num_rows), manifest.row_bytes), np.uint8)
    bytes_done = 0
    files = open_files(stored)
    try:
        for block in range(manifest.num_blocks):
            block_rows = rows[: manifest.rows_in_block(block)]
            files.read_checked_into(block, block_rows)
            bytes_done += block_rows.nbytes
            yield (
                block_rows,
                VerifyProgress(
                    blocks_done=block + 1,
                    num_blocks=manifest.num_blocks,
                    bytes_done=bytes_done,
                    num_bytes=manifest.num_bytes,
                ),
            )
    finally:
        files.close()

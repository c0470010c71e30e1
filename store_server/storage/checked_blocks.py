"""Reads a version block by block and compares each with its digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.errors import BlockDamaged
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import held_blocks, held_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.stored_version import StoredVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyProgress:
    """How much of what is held of a version was read, and found intact, so far."""

    blocks_done: int
    num_blocks: int
    bytes_done: int
    num_bytes: int


def checked_blocks(stored: StoredVersion) -> Iterator[tuple[NDArray[np.uint8], VerifyProgress]]:
    """Yield each block that is held, (rows, row_bytes), compared with its digest if there is one, and the progress.

    The memory is reused. Raises BlockDamaged, TableDamaged, StorageFailure and PackageMissing.
    """
    manifest = stored.manifest
    if not manifest.is_attached:
        DATA_FILE_KINDS[manifest.backend].check_structure(stored)
    rows = np.empty((min(manifest.block_rows, manifest.num_rows), manifest.row_bytes), np.uint8)
    is_held = held_blocks(stored)
    held, num_bytes = np.flatnonzero(is_held).tolist(), held_bytes(manifest, is_held)
    bytes_done = 0
    files = open_files(stored)
    try:
        for blocks_done, block in enumerate(held, start=1):
            block_rows = rows[: manifest.rows_in_block(block)]
            try:
                files.read_checked_into(block, block_rows)
            except BlockDamaged:
                if held_blocks(stored)[block]:
                    raise
                continue  # it was given up meanwhile
            bytes_done += block_rows.nbytes
            yield (
                block_rows,
                VerifyProgress(
                    blocks_done=blocks_done, num_blocks=len(held), bytes_done=bytes_done, num_bytes=num_bytes
                ),
            )
    finally:
        files.close()

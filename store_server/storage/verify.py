"""Compares a stored version with the digests it was published with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.block_file import BlockFile
from store_server.storage.data_file import DATA_FILE_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage.data_root import DataRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyProgress:
    """How much of a version was found intact so far."""

    blocks_done: int
    num_blocks: int
    bytes_done: int
    num_bytes: int


def verify(root: DataRoot, name: str, version: str) -> Iterator[VerifyProgress]:
    """Read every block and yield the progress after each; a version that is intact runs to the end.

    Raises BlockDamaged for the first block that is not what was published, TableDamaged for a manifest or a file that
    is not, and what DataRoot.manifest raises.
    """
    stored = root.stored_version(name, version)
    manifest = stored.manifest
    kind = DATA_FILE_KINDS[manifest.backend]
    kind.check_structure(stored)
    file = BlockFile(stored, kind.offsets(stored))
    rows = np.empty((min(manifest.block_rows, manifest.num_rows), manifest.row_bytes), np.uint8)
    bytes_done = 0
    try:
        for block in range(manifest.num_blocks):
            block_rows = rows[: manifest.rows_in_block(block)]
            file.read_checked_into(block, block_rows)
            bytes_done += block_rows.nbytes
            yield VerifyProgress(
                blocks_done=block + 1,
                num_blocks=manifest.num_blocks,
                bytes_done=bytes_done,
                num_bytes=manifest.num_bytes,
            )
    finally:
        file.close()

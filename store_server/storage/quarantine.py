"""A bad block is held no longer by any version that has it: several may share the file in which it lies."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from store_server.storage.block_writer import BlockWriter
from store_server.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage.data_root import DataRoot
    from store_server.storage.stored_version import StoredVersion


def quarantine(root: DataRoot, stored: StoredVersion, block: int) -> list[StoredVersion]:
    """Hold a block no longer if it has not its digest, nor in other versions in which it is bad; returns those it left.

    Others are the versions of the table that have the same rows there. Raises StorageError.
    """
    with BlockWriter(stored) as writer:
        if not writer.quarantine(block):
            return []
    return [stored, *_others(root, stored, block)]


def _others(root: DataRoot, stored: StoredVersion, block: int) -> Iterator[StoredVersion]:
    for version in root.readable_versions(stored.table):
        with contextlib.suppress(StorageError):  # dropped meanwhile, or damaged in a way that is told elsewhere
            other = root.stored_version(stored.table, version)
            digests = other.manifest.block_digests
            if digests[block : block + 1] != stored.manifest.block_digests[block:][:1]:
                continue
            with BlockWriter(other) as writer:
                if writer.quarantine(block):
                    yield other

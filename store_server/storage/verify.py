"""Compares a stored version with the digests it was published with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage.checked_blocks import VerifyProgress, checked_blocks
from store_server.storage.digests import block_digest
from store_server.storage.root_writer import root_writer
from store_server.storage.sample import check_sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage.data_root import DataRoot
    from store_server.storage.stored_version import StoredVersion


def verify(root: DataRoot, name: str, version: str) -> Iterator[VerifyProgress]:
    """Read every block and yield the progress after each; a version that is intact runs to the end.

    An attached version has no digests at first: the first time, they are taken and kept, which needs the writer's lock
    on the data root; every later time compares with those. One that is in quarantine is read as any other.

    Raises BlockDamaged for the first block that is not what was published, TableDamaged for a manifest or a file that
    is not, and what DataRoot.manifest raises; the first time also RootBusy and RootNotWritable.
    """
    stored = root.stored_version(name, version, also_quarantined=True)
    if stored.manifest.is_attached and not stored.manifest.block_digests:
        yield from _record(root, stored)
    else:
        for _, progress in checked_blocks(stored):
            yield progress


def _record(root: DataRoot, stored: StoredVersion) -> Iterator[VerifyProgress]:
    digests = []
    with root_writer(root.path) as writer:
        for segment in stored.manifest.segments:
            check_sample(stored, segment)
        for rows, progress in checked_blocks(stored):
            digests.append(block_digest(rows))
            yield progress
        # Raises if a file was written to meanwhile.
        root.stored_version(stored.table, stored.version, also_quarantined=True)
        writer.record_digests(stored.table, stored.version, digests)

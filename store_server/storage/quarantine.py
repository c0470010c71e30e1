"""A bad block is held no longer by any version that has it: several may share the file in which it lies."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from store_server.storage.arrivals import arrivals_of
from store_server.storage.block_writer import BlockWriter
from store_server.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage.data_root import DataRoot
    from store_server.storage.stored_version import StoredVersion


class Quarantined(NamedTuple):
    """What became of a block that was found bad."""

    left: list[StoredVersion]
    """Versions that held it and hold it no longer."""
    failures: list[tuple[StoredVersion, StorageError]]
    """Versions that may hold it still, as it could not be written that they do not: a full disk, say."""


def quarantine(root: DataRoot, stored: StoredVersion, block: int) -> Quarantined:
    """Hold a block no longer if it has not its digest, nor in other versions in which it is bad.

    Others are the versions of the table that have the same rows there, those on their way included. Raises
    StorageFailure.
    """
    outcome = Quarantined([], [])
    _quarantine(stored, block, outcome)
    if outcome.left or outcome.failures:
        for other in _others(root, stored, block):
            _quarantine(other, block, outcome)
    return outcome


def _quarantine(stored: StoredVersion, block: int, outcome: Quarantined) -> None:
    try:
        with BlockWriter(stored) as writer:
            if writer.quarantine(block):
                outcome.left.append(stored)
    except StorageError as error:
        if stored.directory.is_dir():  # else it was dropped, or moved to where `_others` comes last
            outcome.failures.append((stored, error))


def _others(root: DataRoot, stored: StoredVersion, block: int) -> Iterator[StoredVersion]:
    name, digest = stored.table, stored.manifest.block_digests[block:][:1]
    for home, version in _places(root, name):
        with contextlib.suppress(StorageError):  # dropped meanwhile, or damaged in a way that is told elsewhere
            other = home.stored_version(name, version)
            if other.directory != stored.directory and other.manifest.block_digests[block:][:1] == digest:
                yield other


def _places(root: DataRoot, name: str) -> Iterator[tuple[DataRoot, str]]:
    yield from arrivals_of(root, name)  # first: what is on its way may move into the root meanwhile
    for version in root.readable_versions(name):
        yield root, version

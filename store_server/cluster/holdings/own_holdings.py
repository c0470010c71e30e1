"""What this node holds, from its data root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_store.shard_map import VersionKey
from store_server.cluster.registration import Holdings
from store_server.storage import StorageError, TableDamaged, VersionQuarantined
from store_server.storage.held_blocks import held_blocks, held_bytes, ranges_of
from store_server.storage.version_quarantine import require_no_quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.cluster.registration import BlockRanges
    from store_server.storage.data_root import DataRoot, Place
    from store_server.storage.stored_version import StoredVersion


class OwnHoldings:
    """Looks at a data root whenever it is called. Manifests, which may be large, are read once."""

    def __init__(self, root: DataRoot) -> None:
        self.damaged: set[VersionKey] = set()
        """Versions whose files were not what they should be at the last look."""
        self._root = root
        self._stored: dict[VersionKey, tuple[Place, StoredVersion]] = {}

    def __call__(self) -> Holdings:
        """Return the blocks of readable versions, and their bytes. Waits for a disk; raises StorageError."""
        blocks: dict[VersionKey, BlockRanges] = {}
        num_bytes = 0
        self.damaged = set()
        for key, stored in self._versions():
            try:
                is_held = held_blocks(stored)
                num_bytes += held_bytes(stored.manifest, is_held)
                require_no_quarantine(*key, stored.directory)
            except VersionQuarantined:  # takes its room, and nobody is to ask for it here
                continue
            except StorageError as error:  # not served: the log of the catalog says why
                self._note_unreadable(key, error)
                continue
            blocks[key] = tuple(ranges_of(is_held))
        return Holdings(blocks, num_bytes)

    def stored(self, key: VersionKey) -> StoredVersion | None:
        """Return a version as it was found at the last look, None if it was not there."""
        found = self._stored.get(key)
        return found[1] if found is not None else None

    def _note_unreadable(self, key: VersionKey, error: StorageError) -> None:
        self._stored.pop(key, None)
        if isinstance(error, TableDamaged):
            self.damaged.add(key)

    def _versions(self) -> Iterator[tuple[VersionKey, StoredVersion]]:
        before, self._stored = self._stored, {}
        for name in self._root.table_names():
            for version in self._root.readable_versions(name):
                key = VersionKey(name, version)
                try:
                    place = self._root.place(name, version)
                    if key not in before or before[key][0] != place:
                        before[key] = place, self._root.stored_version(name, version, also_quarantined=True)
                except StorageError as error:
                    self._note_unreadable(key, error)
                    continue
                self._stored[key] = before[key]
                yield key, before[key][1]

"""Compares what the shard map says of versions with what the node has of them: a map written by hand may be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from store_server.storage import StorageError

if TYPE_CHECKING:
    from engram_store.shard_map import ShardedVersion, ShardMap, VersionKey
    from store_server.storage import DataRoot

log = structlog.get_logger()
_COMPARED: Final = ("num_rows", "row_bytes", "block_rows", "row_format", "fingerprint")


class MapAgainstDisk:
    """Says in the log, once, what a map says wrongly. For one thread at a time."""

    def __init__(self, root: DataRoot) -> None:
        self._root = root
        self._compared: dict[VersionKey, ShardedVersion] = {}

    def look(self, shard_map: ShardMap) -> None:
        """Compare what was not compared yet. Waits for a disk."""
        self._compared = {key: self._compared[key] for key in self._compared.keys() & shard_map.versions.keys()}
        for key, version in shard_map.versions.items():
            if key not in self._compared or _traits(self._compared[key]) != _traits(version):
                self._compare(version)

    def _compare(self, version: ShardedVersion) -> None:
        try:
            manifest = self._root.manifest(*version.key)
        except StorageError:  # not here yet
            return
        self._compared[version.key] = version
        for name in _COMPARED:
            said, found = getattr(version, name), getattr(manifest, name)
            if said != found:
                log.error(
                    f"the shard map is wrong about a version: its {name} is {found!r}, not {said!r}; correct the map",
                    table=version.table,
                    version=version.version,
                )


def _traits(version: ShardedVersion) -> tuple[object, ...]:
    return tuple(getattr(version, name) for name in _COMPARED)

"""The newest shard map that a node knows, kept on its disk too: it starts with it when nobody else can tell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import structlog

from engram_store.shard_map import InvalidShardMap, ShardMap, read_shard_map, to_message, write_shard_map
from store_server.storage.durable import disk_errors_named, make_directory, replace_file
from store_server.storage.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from engram_store.v1 import cluster_service_pb2 as pb

log = structlog.get_logger()
_DIRECTORY: Final = "cluster"
_FILE: Final = "map.json"


class KnownMap:
    """Goes forward only: a map that is not newer than the known one is not taken."""

    def __init__(self, root: Path) -> None:
        self.newest: ShardMap | None = None
        self.message: pb.ShardMap | None = None
        """The same map as it travels."""
        self._directory = root / _DIRECTORY
        self._remember()

    @property
    def epoch(self) -> int:
        """Epoch of the newest map, 0 for none."""
        return self.newest.epoch if self.newest is not None else 0

    def take(self, shard_map: ShardMap) -> bool:
        """Take a map if it is newer; tells whether it was. Waits for a disk."""
        if shard_map.epoch <= self.epoch:
            return False
        if self.newest is not None and shard_map.cluster != self.newest.cluster:
            log.error("shard map of another cluster", cluster=self.newest.cluster, found=shard_map.cluster)
            return False
        self.newest, self.message = shard_map, to_message(shard_map)
        log.info("shard map", epoch=shard_map.epoch, nodes=len(shard_map.nodes), versions=len(shard_map.versions))
        self._keep()
        return True

    def _remember(self) -> None:
        path = self._directory / _FILE
        try:
            self.newest = read_shard_map(path.read_bytes())
            self.message = to_message(self.newest)
        except FileNotFoundError:
            return
        except (OSError, InvalidShardMap) as error:  # it would only have been a help at the start
            log.warning("the last shard map cannot be read", path=str(path), error=str(error))

    def _keep(self) -> None:
        path = self._directory / _FILE
        try:
            with disk_errors_named(self._directory):
                make_directory(self._directory)
                temporary = self._directory / f"{_FILE}.{os.getpid()}"
                temporary.unlink(missing_ok=True)
                replace_file(path, write_shard_map(self.newest).encode(), temporary=temporary)
        except StorageError as error:
            log.warning("the shard map cannot be kept", error=str(error))

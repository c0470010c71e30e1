"""The newest shard map that a node knows, kept on its disk too: it starts with it when nobody else can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from engram_store.shard_map import InvalidShardMap, ShardMap, read_shard_map, to_message, write_shard_map
from store_server.cluster.kept_file import DIRECTORY, keep_file
from store_server.storage.errors import RootOfAnotherCluster, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from engram_store.v1 import cluster_service_pb2 as pb

log = structlog.get_logger()
_FILE: Final = "map.json"


class KnownMap:
    """Goes forward only: a map that is not newer than the known one is not taken.

    Begins with the map that was kept below `root`. One of several processes that share `root` keeps what it takes.
    """

    def __init__(self, root: Path, *, cluster: str | None = None, is_kept: bool = True) -> None:
        """`cluster` is the only one that maps may be of; None for that of the first map.

        Raises RootOfAnotherCluster: with a misspelt name a node would take away all that it copied.
        """
        self.newest: ShardMap | None = None
        self.message: pb.ShardMap | None = None
        """The same map as it travels."""
        self._cluster = cluster
        self._is_kept = is_kept
        self._root = root
        self._path = root / DIRECTORY / _FILE
        self._remember()

    @property
    def epoch(self) -> int:
        """Epoch of the newest map, 0 for none."""
        return self.newest.epoch if self.newest is not None else 0

    def take(self, shard_map: ShardMap) -> bool:
        """Take a map if it is newer; tells whether it was. Waits for a disk."""
        if self.newest is not None and not self._follows(shard_map, self.newest):
            return False
        message = to_message(shard_map)
        self._keep(shard_map)  # before anybody hears of it: after a crash the node knows what it has told others
        self.newest, self.message = shard_map, message
        log.info("shard map", epoch=shard_map.epoch, nodes=len(shard_map.nodes), versions=len(shard_map.versions))
        return True

    def _follows(self, shard_map: ShardMap, newest: ShardMap) -> bool:
        if shard_map.cluster != newest.cluster:
            log.error(
                "shard map of another cluster; if the node has moved there, remove the map that it kept",
                cluster=newest.cluster,
                found=shard_map.cluster,
                kept=str(self._path),
            )
            return False
        if shard_map.epoch == newest.epoch and shard_map != newest:
            log.error("shard map differs and has the same epoch, which must rise", epoch=newest.epoch)
        if shard_map.epoch < newest.epoch:
            log.warning("shard map is older than the one known", epoch=shard_map.epoch, known=newest.epoch)
        return shard_map.epoch > newest.epoch

    def _remember(self) -> None:
        try:
            kept = read_shard_map(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, InvalidShardMap) as error:  # it would only have been a help at the start
            log.warning("the last shard map cannot be read", path=str(self._path), error=str(error))
            return
        if self._cluster is not None and kept.cluster != self._cluster:
            raise RootOfAnotherCluster(self._root, kept=kept.cluster, named=self._cluster)
        self.newest, self.message = kept, to_message(kept)

    def _keep(self, shard_map: ShardMap) -> None:
        if not self._is_kept:
            return
        try:
            keep_file(self._path, write_shard_map(shard_map).encode())
        except StorageError as error:
            log.warning("the shard map cannot be kept", error=str(error))

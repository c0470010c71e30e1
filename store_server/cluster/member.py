"""A node as one of a cluster: it knows the newest shard map, and sees whether it is in it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from store_server.cluster.file_map_source import FileMapSource, path_of
from store_server.cluster.known_map import KnownMap
from store_server.cluster.map_follower import follow_map

if TYPE_CHECKING:
    from pathlib import Path

    from engram_store.shard_map import ShardMap
    from store_server.cluster.cluster_config import ClusterConfig

log = structlog.get_logger()
_FIRST_SECONDS: Final = 5.0


class ClusterMember:
    """Follows the map from `start` to `close`. Raises ValueError for a URL that names no source."""

    def __init__(self, config: ClusterConfig, root: Path) -> None:
        self.known = KnownMap(root, is_kept=config.speaks_for_node)
        self._config = config
        self._address = config.address
        self._source = FileMapSource(path_of(config.url))
        self._source_asked = asyncio.Event()
        self._complained = ""
        self._following: asyncio.Task[None] | None = None

    async def start(self, address: str) -> None:
        """Follow the map from now on, as the node that clients reach at `address` unless the settings say where.

        Returns once the source was heard, or failed: then the node begins with the map it knew.
        """
        self._address = self._address or address
        self._look_for_this_node()
        self._following = asyncio.create_task(follow_map(self._source, self.known, self._heard, self._source_asked.set))
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_SECONDS):
                await self._source_asked.wait()

    async def close(self) -> None:
        """Let go of the source."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._source.close()

    def _heard(self, _found: ShardMap | None) -> None:
        self._look_for_this_node()
        self._source_asked.set()

    def _look_for_this_node(self) -> None:
        """Say it in the log, once, if the map knows nothing of this node: it serves what it has all the same."""
        if not self._config.speaks_for_node or self.known.newest is None:
            return
        complaint = absence(self.known.newest, self._config.node_id, self._address)
        if complaint and complaint != self._complained:
            log.warning(complaint, epoch=self.known.epoch)
        self._complained = complaint


def absence(shard_map: ShardMap, node_id: str, address: str) -> str:
    """Return in a sentence how a node is missing in a map, "" if it is there."""
    found = next((node for node in shard_map.nodes if node.id == node_id), None)
    if found is None:
        return f"node {node_id} is not in the shard map: nobody will ask it for rows"
    if found.address != address:
        return f"the shard map has node {node_id} at {found.address}, this one is at {address}: two nodes with one id?"
    return ""

"""A node as one of a cluster: it knows the newest shard map and, if nodes agree upon it, takes part in that."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from engram_store.shard_map import Node
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.meeting_point import meeting_point_at
from store_server.cluster.kept_cluster_id import KeptClusterId
from store_server.cluster.known_map import KnownMap
from store_server.cluster.map_follower import follow_map
from store_server.cluster.participation import Participation
from store_server.cluster.registration import NodeRegistration
from store_server.cluster.wholeness import Wholeness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from engram_store.shard_map import ShardMap
    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.registration import Holdings

log = structlog.get_logger()
_FIRST_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 1.0


class ClusterMember:
    """Follows the map from `start` to `close`. `holdings` returns what the node holds.

    `limited` returns how much of the capacity in the settings the node really has, `disk_failure` why its disk takes no
    more rows; `new_map` is told of each map.

    Belongs to the running event loop. Raises ValueError for a URL that names no source of maps, RootOfAnotherCluster.
    """

    def __init__(
        self,
        config: ClusterConfig,
        root: Path,
        holdings: Callable[[], Holdings],
        *,
        limited: Callable[[int], int] = lambda capacity_bytes: capacity_bytes,
        disk_failure: Callable[[], str] = lambda: "",
        new_map: Callable[[], None] = lambda: None,
    ) -> None:
        self._meeting = meeting_point_at(config, KeptClusterId(root, is_kept=config.speaks_for_node))
        self.known = KnownMap(root, cluster=self._meeting.cluster, is_kept=config.speaks_for_node)
        self.wholeness = Wholeness(self.known, self._alive)
        self._config = config
        self._address = config.address
        self._holdings = holdings
        self._limited = limited
        self._disk_failure = disk_failure
        self._new_map = new_map
        self._incarnation = secrets.token_hex(8)
        self._source_asked = asyncio.Event()
        self._complained = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._participation: Participation | None = None
        registry, publishers = self._meeting.registry, self._meeting.publishers
        if registry is not None and publishers is not None and config.speaks_for_node:
            self._participation = Participation(
                config,
                self._meeting.cluster or "",
                self.known,
                self._meeting.source,
                registry,
                publishers,
                self._describe,
            )

    async def start(self, address: str) -> None:
        """Take part from now on, as the node that clients reach at `address` unless the settings say where.

        Returns once the source was heard, or failed: then the node begins with the map it knew. Raises NodeIdTaken,
        RegistryRefuses.
        """
        self._address = self._address or address
        self._look_for_this_node()
        if self._participation is not None:
            await self._participation.join()
            self._tasks.append(asyncio.create_task(_kept_up(self._participation.run)))
        self._tasks.append(asyncio.create_task(_kept_up(self._follow)))
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_SECONDS):
                await self._source_asked.wait()

    def holdings_changed(self) -> None:
        """Tell other nodes now what this one holds, instead of when its lease is renewed."""
        if self._participation is not None:
            self._participation.holdings_changed()

    async def close(self) -> None:
        """Leave: others see at once that the node is away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._participation is not None and self._meeting.registry is not None:
            with suppress(MapSourceFailed):  # its lease will end
                await self._meeting.registry.leave()
        await self._meeting.close()

    async def _follow(self) -> None:
        meeting = self._meeting
        await follow_map(meeting.source, self.known, self._heard, self._source_failed, where=meeting.where)

    def _describe(self) -> NodeRegistration:
        held = self._holdings()
        node = Node(
            id=self._config.node_id,
            address=self._address,
            labels=self._config.labels,
            capacity_bytes=self._limited(self._config.capacity_bytes),
        )
        return NodeRegistration(
            node=node,
            incarnation=self._incarnation,
            held=held.blocks,
            bytes_used=held.num_bytes,
            read=held.read,
            replicas=self._config.replicas,
            disk_failure=self._disk_failure(),
        )

    def _heard(self, found: ShardMap | None) -> None:
        self._look_for_this_node()
        self._source_asked.set()
        self.wholeness.heard(found)
        self._new_map()
        if self._participation is not None:
            self._participation.heard(found)

    def _alive(self) -> Collection[str] | None:
        return None if self._participation is None else self._participation.alive

    def _source_failed(self) -> None:
        self._source_asked.set()
        if self._participation is not None:
            self._participation.source_failed()

    def _look_for_this_node(self) -> None:
        """Say it in the log, once, if the map knows nothing of this node: it serves what it has all the same."""
        if not self._config.speaks_for_node or self.known.newest is None:
            return
        complaint = absence(self.known.newest, self._config.node_id, self._address)
        if complaint and complaint != self._complained:
            log.warning(complaint, epoch=self.known.epoch)
        self._complained = complaint


async def _kept_up(task: Callable[[], Awaitable[None]]) -> None:
    """Run what never ends, again if it does by a mistake of ours: without it the node would learn nothing new."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("a part of the node's life in its cluster has failed and begins anew")
        await asyncio.sleep(_PAUSE_SECONDS)


def absence(shard_map: ShardMap, node_id: str, address: str) -> str:
    """Return in a sentence how a node is missing in a map, "" if it is there."""
    found = next((node for node in shard_map.nodes if node.id == node_id), None)
    if found is None:
        return f"node {node_id} is not in the shard map: nobody will ask it for rows"
    if found.address != address:
        return f"the shard map has node {node_id} at {found.address}, this one is at {address}: two nodes with one id?"
    return ""

"""What a node does as one of a cluster: it follows the map, says what it holds, and sees to it that it holds that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from store_server.cluster.holdings.holding import Holding
from store_server.cluster.holdings.map_against_disk import MapAgainstDisk
from store_server.cluster.holdings.own_holdings import OwnHoldings
from store_server.cluster.member import ClusterMember
from store_server.cluster.recent_reads import RecentReads
from store_server.storage import RootNotWritable, StorageFailure
from store_server.storage.node_lock import NodeLock

if TYPE_CHECKING:
    from store_server.catalog import Catalog
    from store_server.cluster.blocks.copy_sources import CopySources
    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.known_map import KnownMap
    from store_server.cluster.registration import Holdings
    from store_server.cluster.wholeness import Wholeness
    from store_server.storage import DataRoot
    from store_server.storage.stored_version import StoredVersion

log = structlog.get_logger()


class NodeInCluster:
    """From `start` to `close`. Of several processes of a node one alone speaks for it and fetches.

    Belongs to the running event loop. Raises ValueError for a URL that names no source of maps.
    """

    def __init__(self, config: ClusterConfig, root: DataRoot, catalog: Catalog, sources: CopySources) -> None:
        self._config = config
        self._catalog = catalog
        self._lock = NodeLock(root.path)
        self._own_holdings = OwnHoldings(root)
        self._map_against_disk = MapAgainstDisk(root)
        self._reads = RecentReads(root.path, catalog.asked_for, config.retire_after_seconds)
        self._member = ClusterMember(
            config,
            root.path,
            self._holdings,
            limited=self._limited,
            disk_failure=self._disk_failure,
            new_map=self._new_map,
        )
        changed = self._member.holdings_changed
        self._holding = Holding(config, root, self._member.known, changed=changed, sources=sources)

    @property
    def known(self) -> KnownMap:
        """The newest map."""
        return self._member.known

    @property
    def wholeness(self) -> Wholeness:
        """How whole the cluster is, as this node sees it."""
        return self._member.wholeness

    def quarantine(self, stored: StoredVersion, block: int) -> None:
        """See Holding.quarantine."""
        self._holding.quarantine(stored, block)

    async def start(self, address: str) -> None:
        """Begin, as the node at an address; see ClusterMember.start. Raises StorageError, too."""
        if self._config.speaks_for_node:
            await asyncio.to_thread(self._take_root)
        await self._member.start(address)
        if self._config.speaks_for_node:
            await self._holding.start()

    async def looked_at_root(self) -> None:
        """Tell the process that speaks for the node what was read from this one lately; that one checks the map."""
        if not self._config.speaks_for_node:
            await asyncio.to_thread(self._reads.tell)
        elif self.known.newest is not None:
            await asyncio.to_thread(self._map_against_disk.look, self.known.newest)

    async def close(self) -> None:
        """Stop, and let others see that the node is away."""
        await self._holding.close()
        await self._member.close()
        self._lock.release()

    def _take_root(self) -> None:
        """Raise RootOfAnotherNode if another node fetches into the data root."""
        try:
            self._lock.take(self._config.node_id)
        except (RootNotWritable, StorageFailure) as error:  # what is on it can be served all the same
            log.warning("it cannot be seen to that no other node has this data root", error=str(error))

    def _holdings(self) -> Holdings:
        """Return what this node holds and lookups find. Waits for a disk."""
        held = self._own_holdings()
        self._catalog.reload()
        served = {key: ranges for key, ranges in held.blocks.items() if self._catalog.serves(*key)}
        return held._replace(blocks=served, read=self._reads.read_of(served))

    def _limited(self, capacity_bytes: int) -> int:
        return self._holding.limited(capacity_bytes)

    def _disk_failure(self) -> str:
        return self._holding.disk_failure

    def _new_map(self) -> None:
        self._holding.look()

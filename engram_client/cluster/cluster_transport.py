"""Tables that lie on many nodes, each row on several: the transport of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Final

from engram_client.cluster.cluster_fetch import ClusterFetch
from engram_client.cluster.hedging import HedgeBudget, HedgeSettings
from engram_client.cluster.latency import units
from engram_client.cluster.linked_node import NodeLink, NodePart
from engram_client.cluster.linked_nodes import LinkedNodes
from engram_client.cluster.patience import PatienceBudget
from engram_client.cluster.replica_choice import choose
from engram_client.cluster.shard_map_cache import ShardMapCache
from engram_client.cluster.shard_split import ShardLayout
from engram_client.errors import (
    StoreClosed,
    TableNotFound,
    TimeLimitExceeded,
    Unavailable,
    VersionNotFound,
    WrongLoop,
)
from engram_client.retry import check_timeout, with_retries
from engram_client.retry_counts import RetryCounts
from engram_client.table_info import TableInfo
from engram_store.shard_map import VersionKey

if TYPE_CHECKING:
    from engram_client.arrays import Int64Array, Uint8Array
    from engram_store.shard_map import ShardedVersion, ShardMap
    from engram_store.v1.cluster_service_pb2 import GetShardMapResponse

_LOOK_EVERY_SECONDS: Final = 5.0  # for a newer map, while there are fetches


class ClusterTransport:
    """Asks, for each row, one of the nodes that hold it; others when that one fails, hesitates or is overtaken.

    Begins with the map `first`; `connect` makes a link to the node at an address. Belongs to the running event loop.
    """

    def __init__(
        self,
        first: ShardMap,
        connect: Callable[[str], NodeLink],
        *,
        settings: HedgeSettings | None = None,
        dice: random.Random | None = None,
        retries: RetryCounts | None = None,
    ) -> None:
        self.settings = settings or HedgeSettings()
        self.hedges = HedgeBudget(self.settings)
        self.retries = retries or RetryCounts()
        self.patience = PatienceBudget()
        self.is_closed = False
        self._dice = dice or random.Random()  # noqa: S311  # spreads load; nothing secret
        self._loop = asyncio.get_running_loop()
        self._layouts: dict[VersionKey, ShardLayout] = {}
        self.nodes = LinkedNodes(connect, self._dice)
        self.maps = ShardMapCache(first, self._ask_for_map, self.nodes.addresses, self._take)
        self._take(first)

    @property
    def epoch(self) -> int:
        """Of the newest map."""
        return self.maps.newest.epoch

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        newest = await self._ask_for_newest(timeout)  # one map, so that versions of a set belong together
        return [_info(newest, version) for version in newest.current_versions()]

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        limit = self._loop.time() + timeout
        newest = await self._ask_for_newest(timeout)
        if _found(newest, name, version) is None:  # was it published a moment ago, as nodes know that lag less?
            await self.look(limit - self._loop.time(), at_least=newest.epoch + 1)
            newest = self.maps.newest
        found = _found(newest, name, version)
        if found is not None:
            return _info(newest, found)
        current = newest.current(name)
        if current is None and all(key.table != name for key in newest.versions):
            raise TableNotFound(f"cluster {newest.cluster!r} has no table {name!r}")
        if not version:
            raise VersionNotFound(
                f"no version of table {name!r} is current in cluster {newest.cluster!r}: one that is being published "
                "becomes so when all its replicas have it"
            )
        raise VersionNotFound(
            f"cluster {newest.cluster!r} has no version {version!r} of table {name!r}; current is {current or 'none'}"
        )

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,), each within the table, into `out` (n, row_bytes)."""
        self._check_usable()
        self.maps.look_now_and_then(_LOOK_EVERY_SECONDS)
        await ClusterFetch(self, table, out, check_timeout(timeout)).get(rows)

    async def close(self) -> None:
        """Close all links; what is under way fails with StoreClosed.

        Raises WrongLoop in another loop than the store's, unless that one is closed.
        """
        if not self._loop.is_closed():
            self._check_loop()
        self.is_closed = True
        await self.maps.close()
        await self.nodes.close()

    def split(self, table: TableInfo, rows: Int64Array, avoided: Collection[str]) -> list[NodePart]:
        """Divide `rows` (n,) among nodes by the newest map; raises VersionNotFound when it has no such version."""
        layout = self._layout(table)
        chooser = partial(
            choose,
            holders=layout.holders,
            row_bytes=table.row_bytes,
            standing=partial(self.nodes.standing, version=VersionKey(table.name, table.version), epoch=self.epoch),
            dice=self._dice,
            avoided=self.nodes.numbers(avoided),
        )
        return [
            NodePart(self.nodes[part.node], part.rows, part.places, units(len(part.rows) * table.row_bytes))
            for part in layout.split(rows, chooser)
        ]

    async def look(self, timeout: float, at_least: int = 0) -> None:
        """Ask nodes for a newer map, for no longer than `timeout` seconds; the one that is known may stay."""
        self._check_usable()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.maps.look(at_least)

    async def _ask_for_newest(self, timeout: float) -> ShardMap:
        """Return the newest map once a node has answered: what nobody confirms may be long out of date."""
        heard = self.maps.num_heard

        async def look() -> None:
            self._check_usable()
            await self.maps.look()
            if self.maps.num_heard == heard:
                raise self.maps.refusal or Unavailable(f"none of {len(self.nodes)} nodes answers")

        try:
            await with_retries(look, timeout, f"asking the nodes of cluster {self.maps.newest.cluster!r} for its map")
        except (Unavailable, TimeLimitExceeded):
            if self.maps.num_heard == heard:
                raise
        return self.maps.newest

    def _layout(self, table: TableInfo) -> ShardLayout:
        key = VersionKey(table.name, table.version)
        if key not in self._layouts:
            version = self.maps.newest.versions.get(key)
            if version is None:
                raise VersionNotFound(
                    f"cluster {self.maps.newest.cluster!r} no longer has version {table.version} of table "
                    f"{table.name!r}; refresh() moves to the current one"
                )
            self._layouts[key] = ShardLayout(version)
        return self._layouts[key]

    def _take(self, shard_map: ShardMap) -> None:
        self._layouts.clear()
        self.nodes.take(shard_map)

    async def _ask_for_map(self, address: str, known_epoch: int, timeout: float) -> GetShardMapResponse:
        node = self.nodes.at(address)
        if node is None:
            raise Unavailable(f"{address} is no node of the cluster any more")
        try:
            response = await node.link.get_shard_map(known_epoch, timeout)
        except (Unavailable, TimeLimitExceeded):
            self.nodes.leave_out(node)
            raise
        self.nodes.heard(node)
        return response

    def _check_usable(self) -> None:
        if self.is_closed:
            raise StoreClosed(f"the store of cluster {self.maps.newest.cluster!r} is closed")
        self._check_loop()

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop("a store belongs to the event loop that used it first; connect once in each loop")


def _found(shard_map: ShardMap, name: str, version: str) -> ShardedVersion | None:
    """Return a version of a table, "" for the current one, or None."""
    return shard_map.versions.get(VersionKey(name, version or shard_map.current(name) or ""))


def _info(shard_map: ShardMap, version: ShardedVersion) -> TableInfo:
    table_set = shard_map.set_of(version.table)
    return TableInfo(
        name=version.table,
        version=version.version,
        num_rows=version.num_rows,
        row_bytes=version.row_bytes,
        row_format=version.row_format,
        fingerprint=version.fingerprint,
        backend="cluster",
        max_rows_per_lookup=version.max_rows_per_lookup,
        table_set=table_set.name if table_set is not None else "",
    )

"""What is behind a URL with hosts: one node, or the cluster that it belongs to."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.errors import ProtocolError, StoreClosed, TimeLimitExceeded, Unavailable
from engram_client.node_transport import NodeTransport
from engram_client.retry import check_timeout, with_retries
from engram_store.shard_map import InvalidShardMap, ShardMap, from_message
from engram_store.v1 import cluster_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.table_info import TableInfo

_ASK_SECONDS: Final = 1.0  # of one of several nodes, before the next one is asked
_SHORTEST_WAIT_SECONDS: Final = 0.001


class NodeOrCluster:
    """Speaks to a node until it says that it is one of a cluster, and from then on to the cluster.

    Several addresses are nodes of one cluster, and any of them that answers will do.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        # Where there are several, each is asked in turn: none may keep the others waiting.
        self._seeds = [NodeTransport(address, retries=len(addresses) == 1) for address in addresses]
        self._addresses = addresses
        self._cluster: ClusterTransport | None = None
        self._entering = asyncio.Lock()
        self._closed = False

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        began = time.monotonic()
        if self._cluster is None and len(self._seeds) == 1:
            tables = await self._seeds[0].list_tables(timeout)
            if not self._seeds[0].map_epoch:
                return tables
        cluster = await self._entered(_left(timeout, began))
        return await cluster.list_tables(_left(timeout, began))

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        began = time.monotonic()
        if self._cluster is None and len(self._seeds) == 1:
            table = await self._seeds[0].get_table(name, version, timeout)
            if not self._seeds[0].map_epoch:
                return table
        cluster = await self._entered(_left(timeout, began))
        return await cluster.get_table(name, version, _left(timeout, began))

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,), each within the table, into `out` (n, row_bytes)."""
        if self._cluster is None:
            await self._seeds[0].fetch(table, rows, out, timeout)
        else:
            await self._cluster.fetch(table, rows, out, timeout)

    async def close(self) -> None:
        """Let go of everything; what is under way fails with StoreClosed."""
        self._closed = True
        for seed in self._seeds:
            await seed.close()
        if self._cluster is not None:
            await self._cluster.close()

    async def _entered(self, timeout: float) -> ClusterTransport:
        """Return the cluster, found by the first node that hands out its map."""
        async with self._entering:
            if self._cluster is None:
                what = f"looking for the cluster of {', '.join(self._addresses)}"
                first = await with_retries(self._find_map, check_timeout(timeout), what)
                if self._closed:
                    raise StoreClosed("the store was closed while it looked for its cluster")
                self._cluster = ClusterTransport(first, lambda address: NodeTransport(address, retries=False))
            return self._cluster

    async def _find_map(self) -> ShardMap:
        failures: list[str] = []
        for seed, address in zip(self._seeds, self._addresses, strict=True):
            try:
                response = await seed.get_shard_map(0, _ASK_SECONDS)
            except (Unavailable, TimeLimitExceeded) as error:
                failures.append(str(error))
                continue
            if response.epoch:
                return _checked(response.map, address)
            failures.append(f"{address} is in no cluster: give its address alone")
        raise Unavailable("; ".join(failures))


def _checked(message: pb.ShardMap, address: str) -> ShardMap:
    try:
        return from_message(message)
    except InvalidShardMap as error:
        raise ProtocolError(f"{address} hands out a shard map that cannot be right: {error}") from error


def _left(timeout: float, began: float) -> float:
    return max(timeout - (time.monotonic() - began), _SHORTEST_WAIT_SECONDS)

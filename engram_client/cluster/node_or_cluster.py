"""What is behind a URL with hosts: one node, or the cluster that it belongs to."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.cluster.map_claims import parsed
from engram_client.errors import (
    EngramError,
    ForkedProcess,
    ProtocolError,
    StoreClosed,
    TimeLimitExceeded,
    Unavailable,
    WrongLoop,
)
from engram_client.keyring import Keyring
from engram_client.node_transport import NodeTransport
from engram_client.retry import check_timeout, with_retries
from engram_client.retry_counts import RetryCounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.table_info import TableInfo
    from engram_store.shard_map import ShardMap

_ASK_SECONDS: Final = 1.0  # of one of several nodes, before the next one is asked
_SHORTEST_WAIT_SECONDS: Final = 0.001
_Said = TypeVar("_Said")


class NodeOrCluster:
    """Speaks to a node until it says that it is one of a cluster, and from then on to the cluster.

    Several addresses are nodes of one cluster, and any of them that answers will do.
    """

    def __init__(self, addresses: Sequence[str], keyring: Keyring | None = None) -> None:
        self._keyring = keyring or Keyring()
        self.retries = RetryCounts()
        # Where there are several, each is asked in turn: none may keep the others waiting.
        retries = len(addresses) == 1
        self._seeds = [
            NodeTransport(address, retries=retries, keyring=self._keyring, counts=self.retries) for address in addresses
        ]
        self._addresses = addresses
        self._cluster: ClusterTransport | None = None
        self._entering: asyncio.Task[ClusterTransport] | None = None
        self._closed = False

    @property
    def hedges(self) -> int:
        """How many requests were hedges; see HedgeBudget."""
        return 0 if self._cluster is None else self._cluster.hedges.hedges

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        began = time.monotonic()
        tables = await self._said_by_node(lambda node: node.list_tables(timeout))
        if tables is not None:
            return tables
        cluster = await self._entered(_left(timeout, began))
        return await cluster.list_tables(_left(timeout, began))

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        began = time.monotonic()
        table = await self._said_by_node(lambda node: node.get_table(name, version, timeout))
        if table is not None:
            return table
        cluster = await self._entered(_left(timeout, began))
        return await cluster.get_table(name, version, _left(timeout, began))

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,), each within the table, into `out` (n, row_bytes)."""
        began = time.monotonic()
        if self._cluster is None:
            try:
                await self._seeds[0].fetch(table, rows, out, timeout)
            except StoreClosed:
                if self._cluster is None:  # else it was found meanwhile
                    raise
            else:
                return
        await self._cluster.fetch(table, rows, out, _left(timeout, began))

    async def close(self) -> None:
        """Let go of everything; what is under way fails with StoreClosed.

        Raises WrongLoop in another loop than the store's, unless that one is closed.
        """
        for seed in self._seeds:
            await seed.close()
        self._closed = True
        if self._entering is not None and not self._entering.get_loop().is_closed():
            self._entering.cancel()
            await asyncio.wait((self._entering,))
        if self._cluster is not None:
            await self._cluster.close()

    async def _said_by_node(self, ask: Callable[[NodeTransport], Awaitable[_Said]]) -> _Said | None:
        """Return what the only node says if it is in no cluster; None where the cluster is to be asked."""
        if self._cluster is not None or len(self._seeds) > 1:
            return None
        try:
            said = await ask(self._seeds[0])
        except StoreClosed:
            if self._cluster is None:
                raise
            return None  # somebody else has found the cluster meanwhile
        return None if self._seeds[0].map_epoch else said

    async def _entered(self, timeout: float) -> ClusterTransport:
        """Return the cluster, found by the first node that hands out its map."""
        if self._cluster is not None:
            return self._cluster
        what = f"looking for the cluster of {', '.join(self._addresses)}"
        return await with_retries(self._enter, check_timeout(timeout), what)

    async def _enter(self) -> ClusterTransport:
        """Ask each seed once. Who comes while somebody asks waits for the same answer, each within its own time."""
        if self._closed:
            raise StoreClosed("the store is closed")
        if self._entering is None or self._entering.done():
            self._entering = asyncio.create_task(self._ask_seeds())
            self._entering.add_done_callback(lambda task: task.cancelled() or task.exception())  # all may have gone
        entering = self._entering
        if entering.get_loop() is not asyncio.get_running_loop():
            raise WrongLoop("a store belongs to the event loop that used it first; connect once in each loop")
        await asyncio.wait((entering,))  # who waits may be cancelled, and the task goes on for the others
        if entering.cancelled():
            raise StoreClosed("the store was closed while it looked for its cluster")
        return entering.result()

    async def _ask_seeds(self) -> ClusterTransport:
        if self._cluster is None:
            first = await self._find_map()
            self._cluster = ClusterTransport(first, self._link, retries=self.retries)
            for seed in self._seeds:
                await seed.close()
        return self._cluster

    def _link(self, address: str) -> NodeTransport:
        return NodeTransport(address, retries=False, keyring=self._keyring)

    async def _find_map(self) -> ShardMap:
        failures: list[EngramError] = []
        for seed, address in zip(self._seeds, self._addresses, strict=True):
            try:
                return await _map_of(seed, address)
            except (StoreClosed, WrongLoop, ForkedProcess):
                raise
            except EngramError as error:
                failures.append(error)
        lasting = [error for error in failures if not isinstance(error, (Unavailable, TimeLimitExceeded))]
        if len(lasting) == len(failures):  # it would be no use to try again
            raise lasting[0]
        raise Unavailable("; ".join(map(str, failures)))


async def _map_of(seed: NodeTransport, address: str) -> ShardMap:
    response = await seed.get_shard_map(0, _ASK_SECONDS)
    if not response.epoch:
        raise Unavailable(f"{address} is in no cluster: give its address alone")
    try:
        return await parsed(response.map)
    except ProtocolError as error:
        raise ProtocolError(f"{address} hands out a shard map that cannot be right: {error}") from error


def _left(timeout: float, began: float) -> float:
    return max(timeout - (time.monotonic() - began), _SHORTEST_WAIT_SECONDS)

"""A link to a node that counts what it is asked for."""

from __future__ import annotations

from collections import Counter

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.errors import EngramError
from engram_client.node_transport import NodeTransport
from engram_client.table_info import TableInfo
from engram_store.v1.cluster_service_pb2 import GetShardMapResponse


class Count:
    """What all links together were asked for."""

    def __init__(self) -> None:
        self.fetches = Counter[str]()
        """By the address of the node."""
        self.failed_fetches = 0


class CountedLink:
    """Passes everything on to the node at an address."""

    def __init__(self, address: str, count: Count) -> None:
        self._node = NodeTransport(address, retries=False)
        self._address, self._count = address, count

    @property
    def draining(self) -> bool:
        return self._node.draining

    async def get_shard_map(self, known_epoch: int, timeout: float) -> GetShardMapResponse:
        return await self._node.get_shard_map(known_epoch, timeout)

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        return await self._node.list_tables(timeout)

    async def fetch(
        self,
        table: TableInfo,
        rows: Int64Array,
        out: Uint8Array,
        timeout: float,
        *,
        places: Int64Array | None = None,
        patience: float | None = None,
    ) -> None:
        self._count.fetches[self._address] += 1
        try:
            await self._node.fetch(table, rows, out, timeout, places=places, patience=patience)
        except EngramError:
            self._count.failed_fetches += 1
            raise

    async def close(self) -> None:
        await self._node.close()

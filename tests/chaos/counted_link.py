"""A link to a node that counts what it is asked for."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from chaos.fetches import Asked

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.cluster.linked_node import NodeLink
from engram_client.table_info import TableInfo
from engram_store.v1.cluster_service_pb2 import GetShardMapResponse


class _Rows(NamedTuple):
    """Those of one fetch (n,): how often each was asked for, and by how many requests it is asked for just now."""

    asked: Int64Array
    under_way: Int64Array


class Count:
    """What all links together were asked for, told apart by the rows of fetches; see Asked."""

    def __init__(self) -> None:
        self.fetches = Counter[str]()
        """By the address of the node."""
        self._first = self._hedges = self._after_failures = self._trials = 0
        self._rows: dict[int, _Rows] = {}

    @property
    def asked(self) -> Asked:
        """How often, so far."""
        return Asked(first=self._first, hedges=self._hedges, after_failures=self._after_failures, trials=self._trials)

    @contextlib.contextmanager
    def fetch_into(self, out: Uint8Array) -> Iterator[None]:
        """Take what goes into `out` (n, row_bytes) for one fetch, as long as the block lasts."""
        self._rows[out.ctypes.data] = _Rows(np.zeros(len(out), np.int64), np.zeros(len(out), np.int64))
        try:
            yield
        finally:
            del self._rows[out.ctypes.data]

    @contextlib.contextmanager
    def request(self, address: str, out: Uint8Array, places: Int64Array | None) -> Iterator[None]:
        """Count one request for rows that go to out[places], as long as the block lasts."""
        self.fetches[address] += 1
        rows = self._rows.get(out.ctypes.data)
        if rows is None:
            self._trials += 1
            yield
            return
        where = slice(None) if places is None else places
        if rows.under_way[where].any():
            self._hedges += 1
        elif rows.asked[where].any():
            self._after_failures += 1
        else:
            self._first += 1
        rows.asked[where] += 1
        rows.under_way[where] += 1
        try:
            yield
        finally:
            rows.under_way[where] -= 1


class CountedLink:
    """Passes everything on to the link to the node at an address."""

    def __init__(self, node: NodeLink, address: str, count: Count) -> None:
        self._node, self._address, self._count = node, address, count

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
    ) -> None:
        with self._count.request(self._address, out, places):
            await self._node.fetch(table, rows, out, timeout, places=places)

    async def close(self) -> None:
        await self._node.close()

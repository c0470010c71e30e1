"""Nodes of a cluster without a wire: each serves the rows of its shards, as fast and as rightly as a test wants.

For a virtual clock: what a node takes time for, it waits for on the loop's timers.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.cluster.hedging import HedgeSettings
from engram_client.errors import RowsNotHeld, TimeLimitExceeded, Unavailable, VersionNotFound
from engram_client.table_info import TableInfo
from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, TableSet, to_message
from engram_store.v1 import cluster_service_pb2 as pb

ROW_BYTES = 16
TABLE = "t"
PAIRS = [(0, 1), (1, 2), (2, 3), (3, 0)]
"""Who holds each of four shards on four nodes, each of them twice."""


def rows_of(version: str, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The content of a version: of each row its number, and the number of the version."""
    words = np.empty((len(rows), 2), "<i8")
    words[:, 0], words[:, 1] = rows, int(version.removeprefix("v"))
    return words.view(np.uint8)


def sharded(holders: list[tuple[int, ...]], *, version: str = "v1", shard_rows: int = 100) -> ShardedVersion:
    shards = tuple(Shard(end_row=shard_rows * (i + 1), holders=nodes) for i, nodes in enumerate(holders))
    return ShardedVersion(
        table=TABLE,
        version=version,
        num_rows=shard_rows * len(holders),
        row_bytes=ROW_BYTES,
        block_rows=1,
        shards=shards,
    )


def shard_map_of(num_nodes: int, *versions: ShardedVersion, epoch: int = 1, current: str = "v1") -> ShardMap:
    return ShardMap(
        cluster="fake",
        epoch=epoch,
        replicas=1,
        nodes=tuple(Node(id=f"n{number}", address=f"node-{number}") for number in range(num_nodes)),
        versions={version.key: version for version in versions},
        sets={TABLE: TableSet(name=TABLE, current={TABLE: current})},
    )


@dataclass
class FakeClusterNode:
    """One node. `shard_map` is what it knows, which decides what it serves."""

    number: int
    shard_map: ShardMap
    seconds: Callable[[], float] = lambda: 0.001
    is_up: bool = True
    hangs: bool = False
    draining: bool = False
    fails_with: list[Exception] = field(default_factory=list)
    """What the next lookups fail with."""
    refuses_with: Exception | None = None
    """What everything it is asked fails with."""
    lookups: list[NDArray[np.int64]] = field(default_factory=list)

    async def get_shard_map(self, known_epoch: int, timeout: float) -> pb.GetShardMapResponse:
        await self._work(timeout)
        newest = self.shard_map
        is_news = newest.epoch > known_epoch
        return pb.GetShardMapResponse(epoch=newest.epoch, map=to_message(newest) if is_news else None)

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        await self._work(timeout)
        return []

    async def fetch(
        self,
        table: TableInfo,
        rows: NDArray[np.int64],
        out: NDArray[np.uint8],
        timeout: float,
        *,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.lookups.append(rows)
        await self._work(timeout)
        if self.fails_with:
            raise self.fails_with.pop(0)
        self._check_held(table, rows)
        out[slice(None) if places is None else places] = rows_of(table.version, rows)

    async def close(self) -> None:
        pass

    async def _work(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                if not self.is_up:
                    await asyncio.sleep(0)
                    raise Unavailable(f"node {self.number} is down")
                if self.hangs:
                    await asyncio.Event().wait()
                await asyncio.sleep(self.seconds())
                if self.refuses_with is not None:
                    raise self.refuses_with
                if self.hangs:
                    await asyncio.Event().wait()
                if not self.is_up:
                    raise Unavailable(f"node {self.number} went down")
        except TimeoutError as error:
            raise TimeLimitExceeded(f"no answer within {timeout:g} s") from error

    def _check_held(self, table: TableInfo, rows: NDArray[np.int64]) -> None:
        version = self.shard_map.versions.get((table.name, table.version))
        if version is None:
            raise VersionNotFound(f"node {self.number} has no version {table.version}")
        ends = np.array([shard.end_row for shard in version.shards])
        for shard in np.unique(np.searchsorted(ends, rows, side="right")):
            if self.number not in version.shards[shard].holders:
                raise RowsNotHeld(f"node {self.number} holds not shard {shard}", self.shard_map.epoch)


class FakeCluster:
    """Nodes with one map, and a client of them."""

    def __init__(self, shard_map: ShardMap, *, settings: HedgeSettings | None = None, seed: int = 0) -> None:
        self.nodes = [FakeClusterNode(number, shard_map) for number in range(len(shard_map.nodes))]
        self.client = ClusterTransport(shard_map, self._connect, settings=settings, dice=random.Random(seed))

    def spread(self, shard_map: ShardMap) -> None:
        """Let all nodes know a map."""
        for node in self.nodes:
            node.shard_map = shard_map

    async def fetch(self, rows: NDArray[np.int64], version: str = "v1", timeout: float = 10.0) -> None:
        """Fetch, and compare each row with what it must be."""
        table = await self.client.get_table(TABLE, version, timeout)
        await self.fetch_of(table, rows, timeout)

    async def fetch_of(self, table: TableInfo, rows: NDArray[np.int64], timeout: float = 10.0) -> None:
        out = np.zeros((len(rows), ROW_BYTES), np.uint8)
        await self.client.fetch(table, rows, out, timeout)
        np.testing.assert_array_equal(out, rows_of(table.version, rows))

    def _connect(self, address: str) -> FakeClusterNode:
        return self.nodes[int(address.removeprefix("node-"))]

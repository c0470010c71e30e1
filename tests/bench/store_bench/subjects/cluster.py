"""This project's store on several nodes, each with a part of the table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from bench.store_bench.lanes import on_the_loop
from bench.store_bench.questions import RowFile
from bench.store_bench.round import Fetch, Round
from numpy.typing import NDArray
from support.real_cluster import RealCluster

import engram_client

_TABLE = "bench/table"


class Cluster:
    """Nodes that hold as many even shards of one table in RAM, each row on `replicas` of them."""

    notes = "one stream to each node, the client on asyncio's own event loop"

    def __init__(self, num_nodes: int, replicas: int = 1) -> None:
        self.name = f"engram-store {num_nodes} shards" + (f" x {replicas}" if replicas > 1 else "")
        self._num_nodes, self._replicas = num_nodes, replicas
        self._cluster: RealCluster | None = None
        self._runner = asyncio.Runner()
        self._store: engram_client.Store | None = None
        self._table: engram_client.Table | None = None

    def start_server(self, file: RowFile, directory: Path) -> list[int]:
        tables = {_TABLE: file.rows()}
        self._cluster = RealCluster(directory, self._num_nodes, tables, self._replicas, options=("--in-memory", _TABLE))
        return [self._cluster.start(number) for number in range(self._num_nodes)]

    def connect(self) -> None:
        self._runner.run(self._connect())

    def run(self, round_: Round) -> None:
        self._runner.run(on_the_loop(round_, self._fetch))

    def stop(self) -> None:
        if self._store is not None:
            self._runner.run(self._store.close())
        self._runner.close()
        if self._cluster is not None:
            self._cluster.close()

    async def _connect(self) -> None:
        self._store = engram_client.connect(self._cluster.url)
        self._table = await self._store.table(_TABLE)

    async def _fetch(self, fetch: Fetch) -> NDArray[np.uint8]:
        return await self._table.fetch(fetch.ids, out=fetch.out)

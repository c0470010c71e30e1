"""This project's store, through each of its transports and backends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from bench.store_bench.lanes import on_the_loop
from bench.store_bench.questions import RowFile
from bench.store_bench.round import Fetch, Round
from numpy.typing import NDArray
from support.processes import NodeProcess
from support.tables import write_table

import engram_client

_TABLE = "bench/table"


class EngramStore:
    """`engram-store serve` with one table, and the asynchronous client; with `file`, the client alone."""

    notes = "one stream, the client on asyncio's own event loop"

    def __init__(self, transport: str, backend: str) -> None:
        self.name = f"engram-store {transport} {backend}"
        self._transport, self._backend = transport, backend
        self._node: NodeProcess | None = None
        self._url = ""
        self._runner = asyncio.Runner()
        self._store: engram_client.Store | None = None
        self._table: engram_client.Table | None = None

    def start_server(self, file: RowFile, directory: Path) -> list[int]:
        root = directory / "root"
        write_table(root, _TABLE, file.rows(), backend="lmdb" if self._backend == "lmdb" else "mmap")
        self._url = f"file://{root}"
        if self._transport == "file":
            return []
        listen = f"unix://{directory}/socket" if self._transport == "unix" else "127.0.0.1:0"
        options = ("--in-memory", _TABLE) if self._backend == "memory" else ()
        self._node = NodeProcess(root, *options, listen=listen, is_fresh=True)
        self._url = listen if self._transport == "unix" else self._node.url
        return [self._node.process.pid]

    def connect(self) -> None:
        self._runner.run(self._connect())

    def run(self, round_: Round) -> None:
        self._runner.run(on_the_loop(round_, self._fetch))

    def stop(self) -> None:
        if self._store is not None:
            self._runner.run(self._store.close())
        self._runner.close()
        if self._node is not None:
            self._node.stop()

    async def _connect(self) -> None:
        self._store = engram_client.connect(self._url)
        self._table = await self._store.table(_TABLE)
        found = self._table.info.backend
        assert self._transport == "file" or found == self._backend, f"the backend is {found}, not {self._backend}"

    async def _fetch(self, fetch: Fetch) -> NDArray[np.uint8]:
        return await self._table.fetch(fetch.ids, out=fetch.out)

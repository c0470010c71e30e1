"""EngramDB's binary TCP server and its own client (the distribution engramdb-python)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from bench.store_bench.lanes import in_threads
from bench.store_bench.questions import ROW_BYTES, RowFile
from bench.store_bench.round import Fetch, Round
from bench.store_bench.subject import NotHere
from bench.store_bench.subjects.server_process import ServerProcess
from numpy.typing import NDArray

_TABLE = "table"
_TIMEOUT_SECONDS = 60.0


class EngramDB:
    """A connection and a thread for each fetch in flight: its client blocks, and its server has a thread for each."""

    name = "EngramDB TCP"
    notes = "as shipped: both sides leave Nagle's algorithm on, which delays replies of a few rows by about 40 ms"

    def __init__(self) -> None:
        self._server: ServerProcess | None = None
        self._num_rows = 0
        self._clients: list[Any] = []

    def start_server(self, file: RowFile, directory: Path) -> list[int]:
        if importlib.util.find_spec("engramdb") is None:
            raise NotHere("needs the package engramdb-python (the extra 'bench')")
        shard = directory / "database" / _TABLE / "shard_000.bin"
        shard.parent.mkdir(parents=True)
        shard.symlink_to(file.path)
        self._num_rows = file.num_rows
        self._server = ServerProcess.of_module("engramdb_server", str(directory / "database"), log=directory / "log")
        return [self._server.pid]

    def connect(self) -> None:
        """Nothing is open before it is known how many are in flight."""

    def run(self, round_: Round) -> None:
        from engramdb import EngramDBClient

        while len(self._clients) < round_.in_flight:
            self._clients.append(EngramDBClient(port=int(self._server.ready), timeout=_TIMEOUT_SECONDS))
        in_threads(round_, self._fetch)

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        if self._server is not None:
            self._server.stop()

    def _fetch(self, lane: int, fetch: Fetch) -> NDArray[np.uint8]:
        rows = self._clients[lane].fetch_raw(_TABLE, fetch.ids.tolist(), 1, self._num_rows, ROW_BYTES)
        return np.frombuffer(rows, np.uint8).reshape(-1, ROW_BYTES)

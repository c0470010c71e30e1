"""Redis: one key a row, read with MGET through redis-py and hiredis."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from bench.store_bench.lanes import pipelined
from bench.store_bench.questions import ROW_BYTES, RowFile
from bench.store_bench.round import Fetch, Round
from bench.store_bench.subject import NotHere
from bench.store_bench.subjects.server_process import ServerProcess, free_port
from numpy.typing import NDArray

_ROWS_PER_SET = 10_000
_TIMEOUT_SECONDS = 60.0


class RedisMget:
    """One connection; commands are sent ahead, replies are read in order."""

    name = "Redis MGET"
    notes = "redis-py with hiredis, 8-byte keys, one connection; the values are joined into one array of rows"

    def __init__(self) -> None:
        self._server: ServerProcess | None = None
        self._client: Any = None
        self._connection: Any = None

    def start_server(self, file: RowFile, directory: Path) -> list[int]:
        program = shutil.which("redis-server")
        if program is None:
            raise NotHere("needs the program redis-server (Debian: apt-get install redis-server)")
        if any(importlib.util.find_spec(package) is None for package in ("redis", "hiredis")):
            raise NotHere("needs the packages redis and hiredis (the extra 'bench')")
        import redis

        port = free_port()
        settings = ["--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(directory)]
        # It prints no line of ours; a shell says "ready", and the client waits until it can connect.
        command = [program, "--bind", "127.0.0.1", *settings, "--logfile", str(directory / "redis.log")]
        self._server = ServerProcess(["sh", "-c", 'echo ready; exec "$@"', "sh", *command], directory / "log")
        retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), retries=100)
        self._client = redis.Redis(port=port, socket_timeout=_TIMEOUT_SECONDS, retry=retry)
        self._client.ping()
        self._fill(file)
        return [self._server.pid]

    def connect(self) -> None:
        self._connection = self._client.connection_pool.get_connection()

    def run(self, round_: Round) -> None:
        pipelined(round_, self._send, self._receive)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._server is not None:
            self._server.stop()

    def _fill(self, file: RowFile) -> None:
        rows = file.rows()
        for first in range(0, file.num_rows, _ROWS_PER_SET):
            some = rows[first : first + _ROWS_PER_SET]
            keys = _keys(np.arange(first, first + len(some)))
            self._client.mset(dict(zip(keys, map(bytes, some), strict=True)))

    def _send(self, fetch: Fetch) -> None:
        self._connection.send_command("MGET", *_keys(fetch.ids))

    def _receive(self, fetch: Fetch) -> NDArray[np.uint8]:  # noqa: ARG002
        return np.frombuffer(b"".join(self._connection.read_response()), np.uint8).reshape(-1, ROW_BYTES)


def _keys(ids: NDArray[np.int64]) -> list[bytes]:
    return ids.astype("<u8").view("V8").tolist()

"""The reference socket: what a plain blocking socket can do, which all others are compared with."""

from __future__ import annotations

import socket
from collections import deque
from pathlib import Path

import numpy as np
from bench.store_bench.lanes import pipelined
from bench.store_bench.questions import RowFile
from bench.store_bench.round import Fetch, Round
from bench.store_bench.subjects.server_process import ServerProcess
from numpy.typing import NDArray

_TIMEOUT_SECONDS = 60.0


class ReferenceSocket:
    """One connection; requests are sent ahead, replies are received in order into the callers' buffers."""

    name = "reference socket"
    notes = "one blocking TCP connection, no framing beyond a count; fetches in flight are requests sent ahead"

    def __init__(self) -> None:
        self._server: ServerProcess | None = None
        self._socket: socket.socket | None = None
        self._unsent: deque[tuple[Fetch, memoryview]] = deque()

    def start_server(self, file: RowFile, directory: Path) -> list[int]:
        self._server = ServerProcess.of_module("reference_server", str(file.path), log=directory / "log")
        return [self._server.pid]

    def connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(self._server.ready)), _TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self, round_: Round) -> None:
        pipelined(round_, self._ask, self._receive)

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._server is not None:
            self._server.stop()

    def _ask(self, fetch: Fetch) -> None:
        request = len(fetch.ids).to_bytes(8, "little") + fetch.ids.astype("<u8", copy=False).tobytes()
        self._unsent.append((fetch, memoryview(request)))
        self._send_what_fits()

    def _send_what_fits(self) -> None:
        """Send without waiting: the server reads no request while it waits for us to take a reply."""
        while self._unsent:
            fetch, rest = self._unsent[0]
            try:
                sent = self._socket.send(rest, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if sent < len(rest):
                self._unsent[0] = (fetch, rest[sent:])
                return
            self._unsent.popleft()

    def _receive(self, fetch: Fetch) -> NDArray[np.uint8]:
        if self._unsent and self._unsent[0][0] is fetch:  # all replies before it were taken, so the server reads
            self._socket.sendall(self._unsent.popleft()[1])
        self._send_what_fits()
        rest = memoryview(fetch.out.reshape(-1))
        while rest:
            received = self._socket.recv_into(rest)
            if not received:
                raise ConnectionError("the reference server closed the connection")
            rest = rest[received:]
        return fetch.out

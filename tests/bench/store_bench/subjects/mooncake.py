"""Mooncake's distributed store over TCP: a master, a process that owns the rows, and a client that reads ranges."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from bench.store_bench.lanes import in_threads
from bench.store_bench.questions import ROW_BYTES, RowFile
from bench.store_bench.round import Fetch, Round
from bench.store_bench.subject import NotHere
from bench.store_bench.subjects.mooncake_owner import ROWS_PER_OBJECT, connected, object_name
from bench.store_bench.subjects.server_process import ServerProcess, free_port
from numpy.typing import NDArray


class Mooncake:
    """A thread for each fetch in flight; each row is a range of an object, read into a registered buffer."""

    name = "Mooncake TCP"
    notes = "made for RDMA: over TCP it makes one transfer a row; its transfer engine listens on all addresses"

    def __init__(self) -> None:
        self._servers: list[ServerProcess] = []
        self._master = ""
        self._store: Any = None
        self._buffers: dict[int, NDArray[np.uint8]] = {}

    def start_server(self, file: RowFile, directory: Path) -> list[int]:
        self._check_is_here()
        port, metrics_port = free_port(), free_port()
        self._master = f"127.0.0.1:{port}"
        addresses = ["--rpc_address", "127.0.0.1", "--rpc_port", str(port)]
        addresses += ["--metrics_host", "127.0.0.1", "--metrics_port", str(metrics_port)]
        program = Path(importlib.util.find_spec("mooncake").submodule_search_locations[0], "mooncake_master")
        # It prints no line of ours; a shell says "ready", and the owner tries until it is connected.
        command = ["sh", "-c", 'echo ready; exec "$@"', "sh", str(program), *addresses]
        self._servers.append(ServerProcess(command, directory / "master.log"))
        arguments = (self._master, str(file.path), str(file.num_rows))
        self._servers.append(ServerProcess.of_module("mooncake_owner", *arguments, log=directory / "owner.log"))
        return [server.pid for server in self._servers]

    def connect(self) -> None:
        self._store = connected(self._master, segment_bytes=0)

    def run(self, round_: Round) -> None:
        in_threads(round_, self._fetch)

    def stop(self) -> None:
        if self._store is not None:
            self._store.close()
        for server in reversed(self._servers):
            server.stop()

    def _check_is_here(self) -> None:
        if importlib.util.find_spec("mooncake") is None:
            raise NotHere("needs the package mooncake-transfer-engine-non-cuda (the extra 'bench')")
        try:
            importlib.import_module("mooncake.store")
        except ImportError as error:
            raise NotHere(f"{error} (Debian: apt-get install libibverbs1 librdmacm1 libnuma1)") from error

    def _fetch(self, lane: int, fetch: Fetch) -> NDArray[np.uint8]:
        out = self._registered(lane, fetch.out)
        objects, rows = np.divmod(fetch.ids, ROWS_PER_OBJECT)
        keys, to, start, size = [], [], [], []
        for number in np.unique(objects):
            places = np.flatnonzero(objects == number)
            keys.append(object_name(number))
            to.append((places * ROW_BYTES).tolist())
            start.append((rows[places] * ROW_BYTES).tolist())
            size.append([ROW_BYTES] * len(places))
        self._store.get_into_ranges([out.ctypes.data], [keys], [to], [start], [size])
        return out

    def _registered(self, lane: int, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A buffer of the lane's own that stays registered, which a client would do once."""
        known = self._buffers.get(lane)
        if known is None or len(known) < len(like):
            if known is not None:
                self._store.unregister_buffer(known.ctypes.data)
            known = self._buffers[lane] = np.zeros_like(like)
            self._store.register_buffer(known.ctypes.data, known.nbytes)
        return known[: len(like)]

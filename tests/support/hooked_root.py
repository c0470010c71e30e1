"""Data roots that open versions in a test's own way, and backends that wait: the seam between a node and its disk."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store_server.config import ServerConfig
from store_server.node import Node
from store_server.storage import Backend, DataRoot

WAIT_SECONDS = 60.0
OpenBackend = Callable[..., Backend]


class HookedRoot(DataRoot):
    """Opens versions through `hook`, which is given (open, name, version, **options) and may call `open`."""

    def __init__(self, path: Path, hook: Callable[..., Backend]) -> None:
        super().__init__(path)
        self.hook = hook

    def open_backend(self, name: str, version: str, **options: object) -> Backend:
        return self.hook(super().open_backend, name, version, **options)


class ColdBackend:
    """Rows that are never known to be in RAM; `before_gather`, given the rows, is called in whatever thread gathers."""

    def __init__(self, backend: Backend, before_gather: Callable[[NDArray[np.int64]], None]) -> None:
        self.num_rows, self.row_bytes, self.kind = backend.num_rows, backend.row_bytes, backend.kind
        self.resident = False
        self.closed = threading.Event()
        self._backend = backend
        self._before_gather = before_gather

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        self._before_gather(rows)
        self._backend.gather(rows, out)

    def gather_from_ram(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:  # noqa: ARG002
        return False

    def refresh_residency(self, deadline: float | None = None) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        self._backend.close()
        self.closed.set()


@contextlib.asynccontextmanager
async def node_on(root: DataRoot, **settings: object) -> AsyncIterator[Node]:
    """Run a node on a data root as long as the block lasts."""
    node = Node(ServerConfig(root=root.path, listen="127.0.0.1:0", **settings), root)
    try:
        await node.start()
        yield node
    finally:
        await node.close()


async def happened(event: threading.Event) -> None:
    """Wait for what another thread does."""
    assert await asyncio.to_thread(event.wait, WAIT_SECONDS)

"""A transport at the lowest seam: it keeps its callers waiting for as long as a test wants."""

import asyncio
import threading

import numpy as np

from engram_client import TableInfo

TABLE = TableInfo(
    name="t",
    version="v1",
    num_rows=100,
    row_bytes=8,
    row_format="",
    fingerprint="",
    backend="fake",
    max_rows_per_lookup=100,
)


class FakeTransport:
    """Fetches and listings never end by themselves; `close` ends once `may_close` is set. Counts what ended how."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.begun = threading.Event()
        self.cancelled = 0
        self.closing = threading.Event()
        self.may_close = threading.Event()
        self.closed = 0

    async def list_tables(self, _timeout: float) -> list[TableInfo]:
        await self._never()
        return []

    async def get_table(self, _name: str, _version: str, _timeout: float) -> TableInfo:
        self.loop = asyncio.get_running_loop()
        return TABLE

    async def fetch(self, _table: TableInfo, _rows: np.ndarray, _out: np.ndarray, _timeout: float) -> None:
        await self._never()

    async def close(self) -> None:
        self.closing.set()
        await asyncio.to_thread(self.may_close.wait, 60)
        self.closed += 1

    async def _never(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

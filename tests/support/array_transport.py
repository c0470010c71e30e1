"""A transport without a wire, at the seam where the client's own steps meet what carries rows."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from engram_client.errors import StoreClosed, TableNotFound
from engram_client.table_info import TableInfo


async def at_once() -> None:
    """Wait for nothing."""


class ArrayTransport:
    """Serves versions of tables from arrays; `before_reply` is awaited before rows are handed over."""

    def __init__(self, before_reply: Callable[[], Awaitable[None]] = at_once) -> None:
        self.before_reply = before_reply
        self.sent: list[NDArray[np.int64]] = []
        """The row numbers of each fetch that got this far."""
        self._rows: dict[tuple[str, str], NDArray[np.uint8]] = {}
        self._current: dict[str, str] = {}
        self._closed = False

    def publish(self, name: str, rows: NDArray[np.uint8]) -> TableInfo:
        """Make `rows` the current version of a table."""
        version = f"v{sum(held == name for held, _ in self._rows)}"
        self._rows[name, version] = rows
        self._current[name] = version
        return self.info(name)

    def info(self, name: str, version: str = "") -> TableInfo:
        version = version or self._current[name]
        rows = self._rows[name, version]
        return TableInfo(
            name=name,
            version=version,
            num_rows=len(rows),
            row_bytes=rows.shape[1],
            row_format="",
            fingerprint="",
            backend="fake",
            max_rows_per_lookup=1000,
        )

    @property
    def rows_sent(self) -> int:
        return sum(rows.size for rows in self.sent)

    async def list_tables(self, timeout: float) -> list[TableInfo]:  # noqa: ARG002
        return [self.info(name) for name in self._current]

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:  # noqa: ARG002
        if name not in self._current:
            raise TableNotFound(name)
        return self.info(name, version)

    async def fetch(
        self,
        table: TableInfo,
        rows: NDArray[np.int64],
        out: NDArray[np.uint8],
        timeout: float,  # noqa: ARG002
    ) -> None:
        if self._closed:
            raise StoreClosed("closed")
        self.sent.append(rows.copy())
        await self.before_reply()
        out[...] = self._rows[table.name, table.version][rows]
        await asyncio.sleep(0)

    async def close(self) -> None:
        self._closed = True

"""What a store has done for its callers, in plain numbers."""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import accumulate
from typing import Final

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.table_info import TableInfo
from engram_client.transport import Transport

BOUNDS_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Up to and including which time each class of fetches goes; one more has what took longer."""


class StoreMetrics:
    """Counted on the store's event loop; any thread may read."""

    __slots__ = ("_classes", "failed", "fetches", "rows", "seconds")

    def __init__(self) -> None:
        self.fetches = 0
        """Fetches that ended with their rows."""
        self.failed = 0
        """Fetches that ended with an error; those that were cancelled are in neither."""
        self.rows = 0
        """Rows of the fetches that ended with them, repeats included."""
        self.seconds = 0.0
        """How long these took, all together."""
        self._classes = [0] * (len(BOUNDS_SECONDS) + 1)

    def cumulative(self) -> list[int]:
        """Return how many of these took at most each of BOUNDS_SECONDS, and at the end how many there were."""
        return list(accumulate(self._classes.copy()))

    def count(self, rows: int, seconds: float) -> None:
        """Count a fetch that ended with its rows."""
        self.fetches += 1
        self.rows += rows
        self.seconds += seconds
        self._classes[bisect_left(BOUNDS_SECONDS, seconds)] += 1


class MeasuredTransport:
    """A transport that counts the fetches of another."""

    def __init__(self, inner: Transport, metrics: StoreMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """See Transport.list_tables."""
        return await self._inner.list_tables(timeout)

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """See Transport.get_table."""
        return await self._inner.get_table(name, version, timeout)

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """See Transport.fetch."""
        began = time.perf_counter()
        try:
            await self._inner.fetch(table, rows, out, timeout)
        except Exception:
            self._metrics.failed += 1
            raise
        self._metrics.count(len(rows), time.perf_counter() - began)

    async def close(self) -> None:
        """See Transport.close."""
        await self._inner.close()

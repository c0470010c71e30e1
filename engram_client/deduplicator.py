"""Each row of a fetch once over the wire, however often it was asked for."""

from __future__ import annotations

from typing import Final

import numpy as np

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.distinct import find_distinct
from engram_client.payoff import Pace, Payoff, Stopwatch
from engram_client.table_info import TableInfo
from engram_client.transport import Transport

_WINDOW_ROWS: Final = 1 << 16


class Deduplicator:
    """A transport that asks another for each row of a fetch once.

    It helps callers that repeat themselves. Whoever has token ids says each n-gram once from the start
    (`RowHasher.distinct_rows`), which costs a tenth of finding the same in the rows. Steps aside, a table at a time,
    while it does not pay.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._payoffs: dict[str, Payoff] = {}  # by the name of the table: some repeat themselves, others never do
        self._pace = Pace()

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        return await self._inner.list_tables(timeout)

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        return await self._inner.get_table(name, version, timeout)

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,), each within the table, into `out` (n, row_bytes)."""
        payoff = self._payoffs.get(table.name) or self._payoffs.setdefault(table.name, Payoff(_WINDOW_ROWS))
        if not payoff.takes_part(len(rows)):
            await self._inner.fetch(table, rows, out, timeout)
            return
        watch = Stopwatch()
        with watch.running():
            first, inverse = find_distinct(rows[None])
        if len(first) == len(rows):
            with self._pace.fetching(len(rows)):
                await self._inner.fetch(table, rows, out, timeout)
        else:
            distinct = np.empty((len(first), table.row_bytes), np.uint8)
            with self._pace.fetching(len(first)):
                await self._inner.fetch(table, rows[first], distinct, timeout)
            with watch.running():
                distinct.take(inverse[0], axis=0, out=out, mode="clip")  # "raise" would copy `out` first
        saved = (len(rows) - len(first)) * self._pace.seconds_a_row
        payoff.record(len(rows), saved_seconds=saved, spent_seconds=watch.seconds)

    async def close(self) -> None:
        """Let go of everything; what is under way fails with StoreClosed."""
        await self._inner.close()

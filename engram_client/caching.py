"""The row cache between a store and its transport: what is held is not asked for again."""

from __future__ import annotations

import asyncio
import operator
from typing import Final, SupportsIndex

import numpy as np

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.loop_turns import LoopTurns
from engram_client.payoff import Pace, Payoff, Stopwatch
from engram_client.row_cache import RowCache, set_bytes
from engram_client.table_info import TableInfo
from engram_client.transport import Transport

_KEY_ROW_BITS: Final = 40  # of a key; the others number the versions of tables
_MAX_VERSIONS: Final = 1 << (62 - _KEY_ROW_BITS)
_REMEMBERED_VERSIONS: Final = 1024
LEAST_CACHE_BYTES: Final = 1 << 20
_LEAST_WINDOW_ROWS: Final = 1 << 18
_WINDOW_LOOKUPS_A_SLOT: Final = 2  # half of them fill the cache before it is judged
_LARGEST_WINDOW_ROWS: Final = 1 << 22


class CacheUse:
    """What the cache did for one table."""

    def __init__(self, window_rows: int) -> None:
        self.looked_up = 0
        """Rows of the fetches that the cache took part in, be it for a share of them while it is on trial."""
        self.hits = 0
        """Rows that it had."""
        self.payoff = Payoff(window_rows)

    @property
    def hit_rate(self) -> float:
        """Share of the rows looked up that were there; 0 before the first."""
        return self.hits / self.looked_up if self.looked_up else 0.0

    @property
    def stands_aside(self) -> bool:
        """Whether looking up took more time than it saved, so that it is left out for now."""
        return self.payoff.resting

    def __repr__(self) -> str:
        return (
            f"CacheUse(looked_up={self.looked_up}, hits={self.hits}, hit_rate={self.hit_rate:.3f}, "
            f"stands_aside={self.stands_aside})"
        )


class CachingTransport:
    """A transport that keeps rows of another within a fixed number of bytes.

    Rows are held under their table, version and number, so that a handle that moves to a new version never sees an old
    row. Tables whose rows have the same width share a cache; where there are several widths, each has an equal part of
    the bytes, and a width that comes later empties the caches of the others. Only rows from buffers of its own enter
    the cache: a caller may do to `out` what it likes. Steps aside, a table at a time, while it does not pay.

    It serves the event loop that fetches first; fetches of another loop go past it.

    Raises:
        TypeError: cache_bytes are no integer.
        ValueError: cache_bytes are below LEAST_CACHE_BYTES.
    """

    def __init__(self, inner: Transport, cache_bytes: int) -> None:
        if not isinstance(cache_bytes, SupportsIndex):
            raise TypeError(f"cache_bytes must be an integer, a number of bytes, got {cache_bytes!r}")
        cache_bytes = operator.index(cache_bytes)
        if cache_bytes < LEAST_CACHE_BYTES:
            raise ValueError(f"cache_bytes must be at least {LEAST_CACHE_BYTES}, got {cache_bytes}")
        self.use: dict[str, CacheUse] = {}
        """What the cache did, by the name of the table."""
        self._inner = inner
        self._cache_bytes = cache_bytes
        self._caches: dict[int, RowCache | None] = {}  # by row_bytes; None where not even one set fits
        self._versions: dict[tuple[str, str], int] = {}  # the numbers of the latest
        self._num_versions = 0
        self._pace = Pace()
        self._turns = LoopTurns()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def nbytes(self) -> int:
        """Bytes held, at most cache_bytes."""
        return sum(cache.nbytes for cache in self._caches.values() if cache is not None)

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        return await self._inner.list_tables(timeout)

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        return await self._inner.get_table(name, version, timeout)

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,), each within the table, into `out` (n, row_bytes)."""
        cache = self._cache_for(table)
        use = None if cache is None else self._use_of(table, cache)
        if cache is None or use is None or not use.payoff.takes_part(len(rows)):
            await self._inner.fetch(table, rows, out, timeout)
            return
        watch, share = Stopwatch(), use.payoff.share
        with watch.running():
            keys = rows | self._first_key(table)
            missing = cache.take(keys, out, share)
        if missing.size:
            fetched = np.empty((missing.size, table.row_bytes), np.uint8)
            del cache  # nobody else may keep it alive: its bytes are counted once
            with self._pace.fetching(missing.size):
                await self._inner.fetch(table, rows[missing], fetched, timeout)
            with watch.running(share):
                out[missing] = fetched
            with watch.running():
                # Looked for again: while this waited, the cache may have been closed, or replaced by a smaller one.
                if (cache := self._caches.get(table.row_bytes)) is not None:
                    cache.put(keys[missing], fetched, share)
        hits = len(rows) - missing.size
        use.looked_up += len(rows)
        use.hits += hits
        saved = hits * self._pace.seconds_a_row
        use.payoff.record(len(rows), saved_seconds=saved / share, spent_seconds=watch.seconds / share)
        if not missing.size and self._turns.is_due(len(rows), table.row_bytes):
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Let go of everything; what is under way fails with StoreClosed."""
        self._closed = True
        self._caches.clear()
        await self._inner.close()

    def _cache_for(self, table: TableInfo) -> RowCache | None:
        """Return the cache for rows of this table, or None if it is to go without."""
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        has_keys = table.num_rows <= 1 << _KEY_ROW_BITS and self._num_versions < _MAX_VERSIONS
        if self._closed or self._loop is not loop or not has_keys:
            return None
        if table.row_bytes not in self._caches:
            self._divide_among([*self._caches, table.row_bytes])
        return self._caches[table.row_bytes]

    def _divide_among(self, widths: list[int]) -> None:
        """Give each width an equal part of the bytes; the caches start empty."""
        self._caches.clear()  # first, so that old and new are never held together
        share = self._cache_bytes // len(widths)
        for row_bytes in widths:
            self._caches[row_bytes] = RowCache(share, row_bytes) if share >= set_bytes(row_bytes) else None

    def _use_of(self, table: TableInfo, cache: RowCache) -> CacheUse:
        if table.name not in self.use:
            window = min(max(_WINDOW_LOOKUPS_A_SLOT * cache.num_slots, _LEAST_WINDOW_ROWS), _LARGEST_WINDOW_ROWS)
            self.use[table.name] = CacheUse(window)
        return self.use[table.name]

    def _first_key(self, table: TableInfo) -> int:
        """Return the key of row 0 of this version of the table; no other version ever has the same keys."""
        name = (table.name, table.version)
        if name not in self._versions:
            if len(self._versions) == _REMEMBERED_VERSIONS:
                del self._versions[next(iter(self._versions))]  # should it come back, it gets another number
            self._versions[name] = self._num_versions
            self._num_versions += 1
        return self._versions[name] << _KEY_ROW_BITS

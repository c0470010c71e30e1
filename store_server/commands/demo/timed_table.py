"""A table that tells how long its fetches took, also when nobody was waiting for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

    from engram_model.store_memory import PendingRows, StoreTable


class TimedTable:
    """A blocking table of the client, as a model sees it, which remembers its last fetch."""

    def __init__(self, table: StoreTable, watchers: Executor) -> None:
        self._table = table
        self._watchers = watchers
        self.num_rows = table.num_rows
        self.row_bytes = table.row_bytes
        self.row_format = table.row_format
        self.fingerprint = table.fingerprint
        self.last_fetch: TimedFetch | None = None

    def prefetch(self, ids: NDArray[np.int64], /) -> TimedFetch:
        """Start fetching rows and return at once."""
        self.last_fetch = TimedFetch(self._table, ids, self._watchers)
        return self.last_fetch


class TimedFetch:
    """A fetch that was started; a thread of its own sees the rows arrive."""

    def __init__(self, table: StoreTable, ids: NDArray[np.int64], watchers: Executor) -> None:
        self.ids = ids
        issued = time.perf_counter()
        self._pending = table.prefetch(ids)
        self._seconds = watchers.submit(_seconds_until_there, self._pending, issued)

    def result(self, timeout: float | None = None) -> NDArray[np.uint8]:
        """Wait for the rows, (*ids.shape, row_bytes)."""
        return self._pending.result(timeout)

    @property
    def seconds(self) -> float:
        """From the moment that the rows were asked for until the last one was there."""
        return self._seconds.result()


def _seconds_until_there(pending: PendingRows, issued: float) -> float:
    pending.result()
    return time.perf_counter() - issued

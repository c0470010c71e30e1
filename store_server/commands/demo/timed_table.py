"""A table that tells how long its fetches took, also when nobody was waiting for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

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

    def prefetch(
        self, ids: NDArray[np.int64], /, *, out: NDArray[np.uint8] | None = None, timeout: float | None = None
    ) -> TimedFetch:
        """Start fetching rows and return at once."""
        issued = time.perf_counter()
        pending = self._table.prefetch(ids, out=out, timeout=timeout)
        seconds = self._watchers.submit(_seconds_until_there, pending, issued)
        self.last_fetch = TimedFetch(pending, ids, seconds)
        return self.last_fetch


class TimedFetch:
    """A fetch that was started; a thread of its own sees the rows arrive.

    Where the model gave a buffer of its own, the rows are there until the model asks for others.
    """

    def __init__(self, pending: PendingRows, ids: NDArray[np.int64], seconds: Future[float]) -> None:
        self.ids = ids
        self._pending = pending
        self._seconds = seconds

    def result(self, timeout: float | None = None) -> NDArray[np.uint8]:
        """Wait for the rows, (*ids.shape, row_bytes)."""
        return self._pending.result(timeout)

    def done(self) -> bool:
        """Tell whether the rows are there, or never will be."""
        return self._pending.done()

    def request_cancel(self) -> None:
        """Ask for the end of the fetch."""
        self._pending.request_cancel()

    def add_done_callback(self, callback: Callable[[], None], /) -> None:
        """Call `callback` once it is done."""
        self._pending.add_done_callback(callback)

    @property
    def seconds(self) -> float:
        """From the moment that the rows were asked for until the last one was there."""
        return self._seconds.result()


def _seconds_until_there(pending: PendingRows, issued: float) -> float:
    pending.result()
    return time.perf_counter() - issued

"""A blocking table at the lowest seam of the model, whose replies come when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engram_client.errors import StoreClosed


class HeldRows:
    """A fetch into `out`, under way until the test releases, fails or drops it; a late release writes nothing."""

    def __init__(self, table: HeldTable, ids: NDArray[np.int64], out: NDArray[np.uint8], timeout: float) -> None:
        self.ids = ids.copy()
        self.out = out
        self.timeout = timeout
        self.cancelled = False
        self._table = table
        self._error: Exception | None = None
        self._ended = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    def release(self) -> None:
        """The reply comes."""
        if not self._ended.is_set():
            self.out[...] = self._table.rows[self.ids]
            self.end()

    def fail(self, error: Exception) -> None:
        """The fetch fails."""
        if not self._ended.is_set():
            self._error = error
            self.end()

    def end(self) -> None:
        """From now on nothing writes."""
        self._ended.set()
        for callback in self._callbacks:
            callback()

    def done(self) -> bool:
        has_ended = self._ended.is_set()
        if self._table.answers_when_looked_for:
            self.release()
        return has_ended

    def result(self, _timeout: float | None = None) -> NDArray[np.uint8]:
        assert self._ended.is_set(), "asked for a result before the end"
        if self._error is not None:
            raise self._error
        return self.out

    def request_cancel(self) -> None:
        if self._table.interrupted:
            self._table.interrupted = False
            raise KeyboardInterrupt
        self.cancelled = True
        if not self._ended.is_set():
            self._error = StoreClosed("cancelled")
            if not self._table.cancels_late:
                self.end()

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        if self._ended.is_set():
            callback()
        else:
            self._callbacks.append(callback)


class HeldTable:
    """Rows in an array; `fetches` is all that was asked for, `log`, shared by the tables of a test, in which order.

    `held`: replies wait for the test. `answers_when_looked_for`: a reply comes just after somebody saw that it was not
    there. `cancels_late`: what is told to end does so when the test says so, as when the store's thread is busy.
    `interrupted`: Ctrl-C is pressed while the next fetch is told to end.
    """

    def __init__(self, table: object, log: list[tuple[str, object]] | None = None, *, held: bool = True) -> None:
        self.rows = table.rows
        self.num_rows, self.row_bytes = table.num_rows, table.row_bytes
        self.row_format, self.fingerprint, self.name = table.row_format, table.fingerprint, table.name
        self.held = held
        self.answers_when_looked_for = False
        self.cancels_late = False
        self.interrupted = False
        self.fetches: list[HeldRows] = []
        self.log = [] if log is None else log

    @property
    def last(self) -> HeldRows:
        return self.fetches[-1]

    def prefetch(self, ids: NDArray[np.int64], *, out: NDArray[np.uint8], timeout: float) -> HeldRows:
        assert out.shape == (*ids.shape, self.row_bytes)
        self.log.append(("prefetch", self.name))
        pending = HeldRows(self, ids, out, timeout)
        self.fetches.append(pending)
        if not self.held:
            pending.release()
        return pending

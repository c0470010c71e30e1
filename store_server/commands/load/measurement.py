"""One run of one client process: lanes that take arrivals in their order, fetch, and count.

The clock is the event loop's, so that a loop with a clock of its own runs the same code.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from store_server.commands.load.histogram import LatencyHistogram
from store_server.commands.load.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.commands.load.checks import RowCheck
    from store_server.commands.load.row_choice import RowSource


class LoadedTable(Protocol):
    """What is put under load: a table of the client, or a fake."""

    async def fetch(self, ids: NDArray[np.int64], /, *, out: NDArray[np.uint8]) -> object:
        """Fill `out` (n, row_bytes) with rows ids (n,), within a time limit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """How many fetches may be under way at once, and how large each of them is."""

    count: int
    rows_per_fetch: int
    row_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Seconds on the event loop's clock: load begins, what is due is measured, nothing more is due."""

    begin: float
    measured_from: float
    end: float


@dataclass(slots=True)
class Snapshot:
    """What happened since the last snapshot, and where things stand."""

    is_warming_up: bool
    in_flight: int
    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
    completed: int = 0
    failed: int = 0
    rows_checked: int = 0
    rows_wrong: int = 0


class Measurement:
    """Puts a table under load for the time of a window.

    Args:
        table: what is fetched from.
        source: which rows.
        check: compares every fetch, those of the warm-up included, after its time was taken.
        lanes: how many fetches may be under way. When all are, arrivals wait, and their wait is part of their latency.
        window: when.
        arrivals: seconds from the window's begin at which a fetch is due, never falling, without end; None is the
            closed loop, in which a lane's next fetch is due when its last one ended.
    """

    def __init__(
        self,
        table: LoadedTable,
        source: RowSource,
        check: RowCheck,
        *,
        lanes: Lanes,
        window: Window,
        arrivals: Iterator[float] | None,
    ) -> None:
        self._table = table
        self._source = source
        self._check = check
        self._lanes = lanes
        self._window = window
        self._arrivals = arrivals
        self._tally = Tally()
        self._in_flight = 0
        self._interrupted = False
        self._recent = Snapshot(is_warming_up=True, in_flight=0)
        self._running: list[asyncio.Task[None]] = []

    async def run(self) -> Tally:
        """Run until everything that was started in the window has ended, and return what was counted."""
        loop = asyncio.get_running_loop()
        cpu_seconds: list[float] = []
        marks = [
            loop.call_at(at, lambda: cpu_seconds.append(time.process_time()))
            for at in (self._window.measured_from, self._window.end)
        ]
        self._running = [asyncio.create_task(self._lane()) for _ in range(self._lanes.count)]
        try:
            outcomes = await asyncio.gather(*self._running, return_exceptions=True)
        finally:
            self._cancel_lanes()
            for mark in marks:
                mark.cancel()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        # Without an interrupt the window was measured to its end, even if the last fetch ended before.
        stopped = min(loop.time(), self._window.end) if self._interrupted else self._window.end
        self._tally.measured_seconds = max(0.0, stopped - self._window.measured_from)
        if cpu_seconds:
            self._tally.cpu_seconds = (cpu_seconds[1] if len(cpu_seconds) > 1 else time.process_time()) - cpu_seconds[0]
        return self._tally

    def interrupt(self) -> None:
        """End now: what is under way is cut off, and `run` returns what was counted so far."""
        self._interrupted = True
        self._cancel_lanes()

    def snapshot(self) -> Snapshot:
        """Return what happened since the last call."""
        recent = self._recent
        recent.in_flight = self._in_flight
        recent.is_warming_up = self._now() < self._window.measured_from
        self._recent = Snapshot(is_warming_up=recent.is_warming_up, in_flight=self._in_flight)
        return recent

    def _cancel_lanes(self) -> None:
        for lane in self._running:
            lane.cancel()

    async def _lane(self) -> None:
        """Fetch one arrival after the other, into a buffer of its own."""
        out = np.empty((self._lanes.rows_per_fetch, self._lanes.row_bytes), np.uint8)
        await asyncio.sleep(max(0.0, self._window.begin - self._now()))
        while True:
            ids = self._source.take(self._lanes.rows_per_fetch)
            free_at = self._now()
            due = self._next_due(free_at)
            if due is None:
                return
            await asyncio.sleep(max(0.0, due - free_at))  # 0 lets others run, too
            if free_at <= due and self._is_measured(due):
                self._tally.issued_late.record(self._now() - due)
            await self._fetch(ids, out, due)

    def _next_due(self, free_at: float) -> float | None:
        """Return when this lane's next fetch is due, perhaps long ago; None if there is no more."""
        end = self._window.end
        if self._arrivals is None:
            return free_at if free_at < end else None
        due_times = (self._window.begin + time for time in self._arrivals)
        if free_at < end:
            due = next(due_times)
            return due if due < end else None
        self._count_never_started(np.fromiter(itertools.takewhile(lambda due: due < end, due_times), np.float64))
        return None

    async def _fetch(self, ids: NDArray[np.int64], out: NDArray[np.uint8], due: float) -> None:
        self._in_flight += 1
        failure: Exception | None = None
        try:
            await self._table.fetch(ids, out=out)
        except asyncio.CancelledError:
            self._tally.cut_off += self._is_measured(due)
            raise
        except Exception as error:  # one fetch's failure, whatever it is, is a result and does not end the load
            failure = error
        finally:
            self._in_flight -= 1
        self._count(due, self._now(), failure)
        if failure is None:
            self._compare(ids, out)

    def _count(self, due: float, ended: float, failure: Exception | None) -> None:
        self._recent.latencies.record(ended - due)
        self._recent.completed += failure is None
        self._recent.failed += failure is not None
        in_time = failure is None and self._window.measured_from <= ended < self._window.end
        if not self._is_measured(due):
            self._tally.left_from_warm_up += in_time
            return
        self._tally.latencies.record(ended - due)
        if failure is None:
            self._tally.completed += 1
            self._tally.completed_in_time += in_time
        else:
            self._tally.count_failure(failure)

    def _compare(self, ids: NDArray[np.int64], rows: NDArray[np.uint8]) -> None:
        compared = self._check.compare(ids, rows)
        for counts in (self._tally, self._recent):
            counts.rows_checked += compared.num_rows
            counts.rows_wrong += len(compared.wrong)
        if len(compared.wrong) and self._tally.first_wrong_row is None:
            self._tally.first_wrong_row = int(compared.wrong[0])

    def _count_never_started(self, due_times: NDArray[np.float64]) -> None:
        # Left out, they would flatter a server that cannot keep up: the wait so far is the least they took.
        measured = due_times[due_times >= self._window.measured_from]
        self._tally.never_started += len(measured)
        self._tally.latencies.record_all(self._window.end - measured)

    def _is_measured(self, due: float) -> bool:
        return due >= self._window.measured_from

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

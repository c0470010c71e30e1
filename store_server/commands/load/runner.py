"""Runs of a job, one after the other, with the same client processes, and what is shown of them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from store_server.commands.load.clients import Clients
from store_server.commands.load.live_view import LiveView
from store_server.commands.load.result import Measured

if TYPE_CHECKING:
    from types import TracebackType

    from store_server.commands.load.job import Job, Run


class Runner:
    """Starts the client processes, and ends them with the block; remembers what interrupted a run."""

    def __init__(self, job: Job) -> None:
        self.interruption: BaseException | None = None
        self._job = job
        self._clients = Clients(job)
        self._view = LiveView(row_bytes=job.row_bytes, rows_per_fetch=job.rows_per_fetch)
        self._opened = ExitStack()

    def measure(self, run: Run) -> Measured:
        """Run once; after an interrupt, which is remembered, the figures are those so far."""
        pace = "closed loop" if run.rate is None else f"{run.rate:,.1f}/s due"
        self._view.begin(f"{self._job.table}, {pace}")
        outcome = self._clients.run(run, self._view)
        self.interruption = outcome.interruption
        return Measured(job=self._job, run=run, tally=outcome.tally, interrupted=outcome.interruption is not None)

    def __enter__(self) -> Self:
        self._opened.enter_context(self._clients)
        self._opened.enter_context(self._view)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, traceback)

"""What is going on while load runs, on stderr: a table that renews itself on a terminal, else a line now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from store_server.commands.load.measurement import Snapshot
from store_server.commands.load.words import milliseconds

if TYPE_CHECKING:
    from types import TracebackType

_TERMINAL_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 2.0


class LiveView:
    """Adds up the snapshots of all processes and shows them; leaves nothing on the screen of a terminal."""

    def __init__(self, *, row_bytes: int, rows_per_fetch: int) -> None:
        self._row_bytes, self._rows_per_fetch = row_bytes, rows_per_fetch
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._interval = _TERMINAL_SECONDS if self._live else _LINE_SECONDS
        self.begin("")

    def begin(self, title: str) -> None:
        """Forget what was, and begin to show another run."""
        self._title = title
        self._began = self._shown = time.monotonic()
        self._completed = self._failed = self._wrong = 0
        self._recent: list[Snapshot] = []
        self._in_flight: dict[int | None, int] = {}

    def see(self, snapshot: Snapshot, process: int | None) -> None:
        """Take in what happened in a process, named by its id."""
        self._in_flight[process] = snapshot.in_flight
        self._recent.append(snapshot)
        self._completed += snapshot.completed
        self._failed += snapshot.failed
        self._wrong += snapshot.rows_wrong

    def show(self) -> None:
        """Show what came in since the last time, if it is time to."""
        now = time.monotonic()
        if now - self._shown < self._interval or not self._recent:
            return
        facts = self._facts(now - self._began, now - self._shown)
        self._recent, self._shown = [], now
        if self._live:
            self._live.update(_table(facts), refresh=True)
        else:
            typer.echo("  ".join(f"{name} {value}" for name, value in facts.items()), err=True)

    def _facts(self, running_seconds: float, recent_seconds: float) -> dict[str, str]:
        # As it is by now: the first snapshots of the interval may have been of the warm-up.
        recent = Snapshot(is_warming_up=self._recent[-1].is_warming_up, in_flight=0)
        for each in self._recent:
            recent.latencies.add(each.latencies)
            recent.completed += each.completed
        rate = recent.completed / recent_seconds
        num_bytes = rate * self._rows_per_fetch * self._row_bytes
        return {
            self._title: f"{running_seconds:.1f} s{', warming up' if recent.is_warming_up else ''}",
            "now": f"{rate:,.0f} fetches/s, {rate * self._rows_per_fetch:,.0f} rows/s, {num_bytes / 1e6:,.1f} MB/s",
            "p50": milliseconds(recent.latencies.percentile(50)),
            "p99": milliseconds(recent.latencies.percentile(99)),
            "longest": milliseconds(recent.latencies.most),
            "in flight": f"{sum(self._in_flight.values()):,}",
            "completed": f"{self._completed:,}",
            "failed": f"{self._failed:,}",
            "wrong rows": f"{self._wrong:,}",
        }

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()


def _table(facts: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        style = "bold red" if name in ("failed", "wrong rows") and value != "0" else ""
        table.add_row(name, value, style=style)
    return table

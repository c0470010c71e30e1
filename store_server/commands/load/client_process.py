"""A client process: it holds one connection, runs what the command asks for, and reports.

Nothing else runs in it, so that what is shown on the screen costs the measurement nothing.
"""

from __future__ import annotations

import asyncio
import selectors
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from store_server.commands.load.arrivals import Arrivals
from store_server.commands.load.checks import row_check
from store_server.commands.load.job import Job, Run
from store_server.commands.load.measurement import Lanes, Measurement, Window
from store_server.commands.load.row_choice import row_source

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from store_server.commands.load.checks import RowCheck
    from store_server.commands.load.measurement import LoadedTable
    from store_server.commands.load.row_choice import RowSource

SNAPSHOT_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Order:
    """Run this, beginning at a time of the clock that all processes of a host share."""

    run: Run
    begin: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End the run now."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The table is open."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing can be run, and why."""

    reason: str


def run_client(connection: Connection[Any, Any], job: Job, share: int) -> None:
    """Serve orders that come on `connection` until its other end is closed; the target of a new process."""
    # With epoll and with uvloop a timer is a millisecond exact, with select a microsecond.
    with (
        suppress(BrokenPipeError, ConnectionResetError),  # the command has gone
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner,
    ):
        runner.run(_report_failure(connection, job, share))


async def _report_failure(connection: Connection[Any, Any], job: Job, share: int) -> None:
    from engram_client import EngramError
    from store_server.storage import StorageError

    try:
        await _serve(connection, job, share)
    except (EngramError, StorageError, OSError) as error:
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            raise
        connection.send(Failed(str(error)))


async def _serve(connection: Connection[Any, Any], job: Job, share: int) -> None:
    from engram_client import connect

    source = row_source(job.choice, job.num_rows, seed=job.seed, share=share, shares=job.processes)
    checked = row_check(job.check, row_bytes=job.row_bytes, root=job.root, table=job.table, version=job.version)
    async with connect(job.url, timeout=job.timeout_seconds, **job.connection.for_connect()) as store:
        table = await store.table(job.table, version=job.version)
        inbox = _inbox(connection)
        runs = 0
        with checked as check:
            connection.send(Ready())
            while isinstance(order := await inbox.get(), Order):
                measurement = _measurement(job, share, order, runs, table, source, check)
                await _run(measurement, connection, inbox)
                runs += 1


def _inbox(connection: Connection[Any, Any]) -> asyncio.Queue[Order | Stop | None]:
    """Return the queue that messages go to; None is the end of the connection."""
    inbox: asyncio.Queue[Order | Stop | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def receive() -> None:
        try:
            inbox.put_nowait(connection.recv())
        except (EOFError, OSError):
            loop.remove_reader(connection.fileno())
            inbox.put_nowait(None)

    loop.add_reader(connection.fileno(), receive)
    return inbox


def _measurement(
    job: Job, share: int, order: Order, runs: int, table: LoadedTable, source: RowSource, check: RowCheck
) -> Measurement:
    run = order.run
    # The first processes take one lane more where they cannot be shared out evenly.
    lanes = (job.max_in_flight + job.processes - 1 - share) // job.processes
    arrivals = None
    if run.rate is not None:
        shared_out = Arrivals(rate=run.rate, spacing=run.spacing, burst=run.burst, share=share, shares=job.processes)
        arrivals = shared_out.times((job.seed, share, runs))
    measured_from = order.begin + run.warm_up_seconds
    return Measurement(
        table,
        source,
        check,
        lanes=Lanes(count=lanes, rows_per_fetch=job.rows_per_fetch, row_bytes=job.row_bytes),
        window=Window(begin=order.begin, measured_from=measured_from, end=measured_from + run.duration_seconds),
        arrivals=arrivals,
    )


async def _run(
    measurement: Measurement, connection: Connection[Any, Any], inbox: asyncio.Queue[Order | Stop | None]
) -> None:
    running = asyncio.create_task(measurement.run())
    told_to_stop = asyncio.create_task(inbox.get())
    while not (running.done() or told_to_stop.done()):
        await asyncio.wait({running, told_to_stop}, timeout=SNAPSHOT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        connection.send(measurement.snapshot())
    if told_to_stop.done() and told_to_stop.result() is None:
        inbox.put_nowait(None)  # there will be no more orders either
    if not running.done():
        measurement.interrupt()
    told_to_stop.cancel()
    connection.send(await running)

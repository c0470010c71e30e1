"""The client processes, as the command sees them: started together, run together, their counts added up."""

from __future__ import annotations

import multiprocessing
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from store_server.commands.failure import CommandFailed
from store_server.commands.load.client_process import SNAPSHOT_SECONDS, Failed, Order, Ready, Stop, run_client
from store_server.commands.load.measurement import Snapshot
from store_server.commands.load.tally import Tally

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from types import TracebackType

    from store_server.commands.load.job import Job, Run

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
_LEAD_SECONDS: Final = 0.1  # until every process has its order
_GRACE_SECONDS: Final = 10.0


class Watcher(Protocol):
    """Shows what is going on."""

    def see(self, snapshot: Snapshot, process: int | None) -> None:
        """Take in what happened in a process, named by its id."""
        ...

    def show(self) -> None:
        """Show what came in since the last time, if it is time to."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run counted; `interruption` is what ended it early."""

    tally: Tally
    interruption: BaseException | None = None


class Clients:
    """The client processes of a job; they are ended with the block.

    Raises CommandFailed when one of them cannot open the table, ends by itself or does not answer in time.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._processes: dict[Connection[Any, Any], BaseProcess] = {}

    def run(self, run: Run, watcher: Watcher) -> Outcome:
        """Run all processes at once; Ctrl-C and SIGTERM end the run and come back with what was counted."""
        total = Tally()
        pending = set(self._processes)
        limit = time.monotonic() + run.warm_up_seconds + run.duration_seconds + self._job.timeout_seconds
        try:
            self._send(Order(run, time.monotonic() + _LEAD_SECONDS))
            self._collect(pending, total, limit + _GRACE_SECONDS, watcher)
        except (KeyboardInterrupt, SystemExit) as interruption:
            self._send(Stop())
            self._collect(pending, total, time.monotonic() + STOP_SECONDS, watcher)
            return Outcome(total, interruption)
        return Outcome(total)

    def _collect(self, pending: set[Connection[Any, Any]], total: Tally, limit: float, watcher: Watcher) -> None:
        """Add up the tallies of the processes in `pending`, which is left empty."""
        while pending:
            if time.monotonic() > limit:
                raise CommandFailed(f"{len(pending)} client processes do not answer any more")
            ready = wait(list(pending), SNAPSHOT_SECONDS)
            for connection in [each for each in pending if each in ready]:
                message = self._receive(connection)
                if isinstance(message, Snapshot):
                    watcher.see(message, self._processes[connection].pid)
                elif isinstance(message, Tally):
                    # In this order, and nothing that can fail between: an interrupt finds both or neither done.
                    pending.remove(connection)
                    total.add(message)
            watcher.show()

    def _receive(self, connection: Connection[Any, Any]) -> object:
        process = self._processes[connection]
        try:
            message = connection.recv()
        except (EOFError, OSError) as error:
            raise _ended(process) from error
        if isinstance(message, Failed):
            raise CommandFailed(message.reason)
        return message

    def _send(self, message: Order | Stop) -> None:
        for connection, process in self._processes.items():
            try:
                connection.send(message)
            except OSError as error:
                raise _ended(process) from error

    def __enter__(self) -> Self:
        try:
            for share in range(self._job.processes):
                self._start(share)
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def _start(self, share: int) -> None:
        # Forked from a process that has imported what is needed and done nothing: gRPC does not survive more.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([run_client.__module__])
        ours, theirs = context.Pipe()
        process = context.Process(target=run_client, args=(theirs, self._job, share), daemon=True)
        # Ctrl-C reaches the whole terminal: the command hears it and tells the others, who inherit this.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, previous)
        theirs.close()
        self._processes[ours] = process

    def _wait_until_ready(self) -> None:
        limit = time.monotonic() + START_SECONDS
        for connection in self._processes:
            if not connection.poll(max(0.0, limit - time.monotonic())):
                raise CommandFailed(f"a client process did not open the table within {START_SECONDS:g} s")
            message = self._receive(connection)
            if not isinstance(message, Ready):
                raise TypeError(f"a client process began with {message!r}")

    def _end(self) -> None:
        for connection in self._processes:
            connection.close()  # which tells the process to end
        for process in self._processes.values():
            process.join(STOP_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()


def _ended(process: BaseProcess) -> CommandFailed:
    process.join(STOP_SECONDS)
    return CommandFailed(f"a client process ended by itself, exit code {process.exitcode}")

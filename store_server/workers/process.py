"""One worker as its parent sees it: a process that was started, and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from store_server.workers.asked_metrics import ask_for_metrics
from store_server.workers.channel import Channel
from store_server.workers.kept_files import WorkerGone
from store_server.workers.marks import Trace
from store_server.workers.settings import Quarantined, WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from store_server.config import ServerConfig
    from store_server.placement import Placement
    from store_server.storage.data_root import PlacedVersion
    from store_server.workers.kept_files import KeptFiles

PROGRAM: Final = (sys.executable, "-m", "store_server.workers.worker")
_STDERR: Final = 2
_DEADLY: Final = (signal.SIGBUS, signal.SIGSEGV)  # what comes to who reads where nothing can be read
_ASKED_AGAIN: Final = 5


class WorkerProcess:
    """A worker from its start to its end. Belongs to the running event loop.

    `failure` is why it could not serve, in its own words; "" as long as it said nothing. `culprit` is the version that
    it was reading when a deadly signal came, as far as that is known. `has_answered` says whether it ever showed life
    when it was asked to, `unanswered` how often it was asked in vain since then. `is_serving` says whether it serves
    clients, None before its tables are open; `serving_changed` is called when that changes. `drain_asked` is called
    when somebody has asked it to have the whole node drained.
    """

    def __init__(
        self,
        number: int,
        process: subprocess.Popen[bytes],
        pidfd: int,
        control: Channel,
        metrics: Channel,
        trace: Trace,
    ) -> None:
        """Use `start`."""
        loop = asyncio.get_running_loop()
        self.number = number
        self.failure = ""
        self.culprit: PlacedVersion | None = None
        self.is_serving: bool | None = None
        self.has_answered = False
        self.unanswered = 0
        self.serving_changed: Callable[[], None] = lambda: None
        self.drain_asked: Callable[[], None] = lambda: None
        self.listening: asyncio.Future[str] = loop.create_future()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._pidfd = pidfd
        self._control = control
        self._metrics = metrics
        self._trace = trace
        self._served_since: float | None = None
        loop.add_reader(control, self._hear)
        loop.add_reader(self._pidfd, self._end)

    @classmethod
    def start(
        cls,
        number: int,
        config: ServerConfig,
        placement: Placement | None,
        files: KeptFiles,
        quarantined: Quarantined = (),
        *,
        program: Sequence[str] = PROGRAM,
    ) -> WorkerProcess:
        """Start a worker, in a process group of its own: what a terminal sends goes to the parent alone.

        Raises OSError where there are not enough descriptors, processes or memory; nothing is left of it then.
        """
        with contextlib.ExitStack() as if_it_fails:
            with contextlib.ExitStack() as its_ends:
                control, its_control = Channel.pair()
                if_it_fails.callback(control.close)
                its_ends.callback(its_control.close)
                memory, its_memory = Channel.pair()
                if_it_fails.callback(memory.close)
                its_ends.callback(its_memory.close)
                metrics, its_metrics = Channel.pair()
                if_it_fails.callback(metrics.close)
                its_ends.callback(its_metrics.close)
                trace = Trace()
                if_it_fails.callback(trace.close)
                process = _started(
                    program,
                    WorkerSettings(
                        number=number,
                        config=config,
                        placement=placement,
                        quarantined=quarantined,
                        control_descriptor=its_control.fileno(),
                        memory_descriptor=its_memory.fileno(),
                        marks_descriptor=trace.descriptor,
                        metrics_descriptor=its_metrics.fileno(),
                    ),
                )
            if_it_fails.callback(_kill, process)
            pidfd = os.pidfd_open(process.pid)
            if_it_fails.pop_all()
        for end in (control, memory, metrics):
            end.set_timeout(0)
        _answer_for_memory(memory, files)
        return cls(number, process, pidfd, control, metrics, trace)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def served_seconds(self) -> float:
        """How long ago it first served; 0 if it never did, however long it tried."""
        return 0.0 if self._served_since is None else time.monotonic() - self._served_since

    def ask_for_life(self) -> None:
        """Ask it to say that its event loop turns."""
        # Few wait for one that hears none, for there is room for what matters more; not one only, which may be lost.
        if self.unanswered % _ASKED_AGAIN == 0:
            with contextlib.suppress(OSError):
                self._control.send({"alive": True})
        self.unanswered += 1

    def name_workers(self, node_id: str, listen: Sequence[str]) -> None:
        """Tell it what to tell clients; `ready` follows."""
        with contextlib.suppress(OSError):  # it has just died
            self._control.send({"node_id": node_id, "workers": list(listen)})

    def tell_quarantine(self, placed: PlacedVersion, reason: str, *, is_written: bool) -> None:
        """Tell it to serve a version no more; see Node.note_quarantine."""
        with contextlib.suppress(OSError):
            self._control.send({"quarantine": placed, "reason": reason, "is_written": is_written})

    def drain(self) -> None:
        """Tell it to announce that the node stops; see Node.announce_drain."""
        with contextlib.suppress(OSError):
            self._control.send({"drain": True})

    async def metrics(self) -> bytes | None:
        """Return its metrics; None if it has none to show. See ask_for_metrics."""
        return await ask_for_metrics(self._metrics)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        while self._hear():  # what it said last
            pass
        loop.remove_reader(self._control)
        self._control.close()
        self._metrics.close()
        code = self._process.wait()
        if -code in _DEADLY:
            self.culprit = self._trace.culprit()
        self._trace.close()
        if self.is_serving is not None:
            self.is_serving = None
            self.serving_changed()
        self.ended.set_result(code)

    def _hear(self) -> bool:
        try:
            received = self._control.receive()
        except OSError:
            return False
        if received is None:
            asyncio.get_running_loop().remove_reader(self._control)
            return False
        match received.message:
            case {"listening": str(address)}:
                self.listening.set_result(address)
            case {"ready": True}:
                self.ready.set_result(None)
            case {"serving": bool(is_serving)}:
                self.is_serving = is_serving
                if is_serving and self._served_since is None:
                    self._served_since = time.monotonic()
                self.serving_changed()
            case {"alive": True}:
                self.unanswered, self.has_answered = 0, True
            case {"drain": True}:
                self.drain_asked()
            case {"failed": str(reason)}:
                self.failure = reason
        return True


def why_it_ended(worker: WorkerProcess) -> str:
    """Return why a worker ended: the signal that it died of, what it said itself, or else its exit code."""
    code = worker.ended.result()
    # Who writes its memory to a disk as it dies is silent for long, and is told to end: not of that it died.
    died_by_itself = code < 0 and code != -signal.SIGKILL
    return how_it_ended(code) if died_by_itself else worker.failure or how_it_ended(code)


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def with_listen(config: ServerConfig, listen: str) -> ServerConfig:
    """Return the settings of the worker that listens there."""
    return dataclasses.replace(config, listen=listen)


def _started(program: Sequence[str], settings: WorkerSettings) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # ourselves
        [*program, settings.to_argument()],
        stdin=subprocess.DEVNULL,
        stdout=_STDERR,
        pass_fds=(
            settings.control_descriptor,
            settings.memory_descriptor,
            settings.marks_descriptor,
            settings.metrics_descriptor,
        ),
        process_group=0,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _answer_for_memory(channel: Channel, files: KeptFiles) -> None:
    loop = asyncio.get_running_loop()

    def answer() -> None:
        try:
            files.answer(channel)
        except WorkerGone:
            loop.remove_reader(channel)
            channel.close()

    loop.add_reader(channel, answer)

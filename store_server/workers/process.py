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

from store_server.workers.channel import Channel
from store_server.workers.kept_files import WorkerGone
from store_server.workers.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store_server.config import ServerConfig
    from store_server.placement import Placement
    from store_server.workers.kept_files import KeptFiles

_STDERR: Final = 2


class WorkerProcess:
    """A worker from its start to its end. Belongs to the running event loop.

    `failure` is why it could not serve, in its own words; "" as long as it said nothing.
    """

    def __init__(self, number: int, process: subprocess.Popen[bytes], pidfd: int, control: Channel) -> None:
        """Use `start`."""
        loop = asyncio.get_running_loop()
        self.number = number
        self.failure = ""
        self.listening: asyncio.Future[str] = loop.create_future()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._pidfd = pidfd
        self._control = control
        self._began = time.monotonic()
        loop.add_reader(control, self._hear)
        loop.add_reader(self._pidfd, self._end)

    @classmethod
    def start(cls, number: int, config: ServerConfig, placement: Placement | None, files: KeptFiles) -> WorkerProcess:
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
                process = _started(
                    WorkerSettings(
                        number=number,
                        config=config,
                        placement=placement,
                        control_descriptor=its_control.fileno(),
                        memory_descriptor=its_memory.fileno(),
                    )
                )
            if_it_fails.callback(_kill, process)
            pidfd = os.pidfd_open(process.pid)
            if_it_fails.pop_all()
        for end in (control, memory):
            end.set_timeout(0)
        _answer_for_memory(memory, files)
        return cls(number, process, pidfd, control)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def lived_seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._began

    def name_workers(self, node_id: str, listen: Sequence[str]) -> None:
        """Tell it what to tell clients; `ready` follows."""
        with contextlib.suppress(OSError):  # it has just died
            self._control.send({"node_id": node_id, "workers": list(listen)})

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
        self.ended.set_result(self._process.wait())

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
            case {"failed": str(reason)}:
                self.failure = reason
        return True


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def with_listen(config: ServerConfig, listen: str) -> ServerConfig:
    """Return the settings of the worker that listens there."""
    return dataclasses.replace(config, listen=listen)


def _started(settings: WorkerSettings) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # ourselves
        [sys.executable, "-m", "store_server.workers.worker", settings.to_argument()],
        stdin=subprocess.DEVNULL,
        stdout=_STDERR,
        pass_fds=(settings.control_descriptor, settings.memory_descriptor),
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

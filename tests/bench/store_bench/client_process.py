"""A subject in a process of its own: its libraries, threads and memory settings are nobody else's."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from bench.store_bench.placement import Placement, move
from bench.store_bench.questions import Questions, RowFile
from bench.store_bench.round import Round, RoundResult, buffers_for
from bench.store_bench.subject import NotHere, Subject
from support.ctrl_c import ctrl_c_put_off, hear_ctrl_c

_START_SECONDS = 300.0
_ROUND_SECONDS = 120.0
_STOP_SECONDS = 60.0


class SubjectFailed(Exception):
    """A subject handed out wrong rows, or could not go on; its figures do not count."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is varied: a subject's figures are those of one case."""

    placement: Placement
    ids_per_fetch: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A round, and what the server's processes spent on it and hold beside mapped files."""

    round: RoundResult
    server_cpu_seconds: float
    server_private_bytes: int


class ClientProcess:
    """Starts a subject's server and client; each call of `measure` is a round."""

    def __init__(self, make_subject: Callable[[], Subject], file: RowFile, directory: Path) -> None:
        """Raises NotHere, SubjectFailed."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, make_subject, file, directory))
        resource_tracker.ensure_running()  # started below, it would have this thread hear of Ctrl-C again
        with ctrl_c_put_off():  # while it imports, nobody there could say that it was interrupted
            self._process.start()
        theirs.close()
        try:
            self.name, self.notes = self._answer(_START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def measure(self, case: Case, seconds: float) -> Measured:
        """Raises SubjectFailed."""
        self._connection.send((case, seconds))
        return self._answer(_ROUND_SECONDS)

    def stop(self) -> None:
        self._connection.close()
        self._process.join(_STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self, seconds: float):
        try:
            if not self._connection.poll(seconds):
                raise SubjectFailed(f"no answer within {seconds:g} s")
            answer = self._connection.recv()
        except EOFError:
            self._process.join(_STOP_SECONDS)
            raise SubjectFailed(f"its process ended with {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _live(connection: Connection, make_subject: Callable[[], Subject], file: RowFile, directory: Path) -> None:
    """Answer the parent until it closes its end."""
    subject = make_subject()
    try:
        hear_ctrl_c()
        directory.mkdir(parents=True, exist_ok=True)
        server_pids = subject.start_server(file, directory)
        subject.connect()
        connection.send((subject.name, subject.notes))
        _answer_rounds(connection, subject, file, server_pids)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    except NotHere as error:
        connection.send(error)
    except Exception as error:
        connection.send(SubjectFailed(f"{error}\n{traceback.format_exc()}"))
    finally:
        subject.stop()


def _answer_rounds(connection: Connection, subject: Subject, file: RowFile, server_pids: list[int]) -> None:
    before = questions = buffers = None
    while True:
        case, seconds = connection.recv()
        if before is None or case.ids_per_fetch != before.ids_per_fetch:
            questions = Questions.of(file, case.ids_per_fetch)
        if case != before:
            before, buffers = case, buffers_for(case.in_flight, case.ids_per_fetch)
            move(server_pids, case.placement.server_cores)
            move([os.getpid()], case.placement.client_cores)
        cpu_seconds = _cpu_seconds(server_pids)
        round_ = Round(questions, buffers, seconds)
        subject.run(round_)
        result = round_.result()
        connection.send(Measured(result, _cpu_seconds(server_pids) - cpu_seconds, private_bytes(server_pids)))


def _cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of all threads of these processes so far."""
    threads = (thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def private_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes that is no mapped file."""
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

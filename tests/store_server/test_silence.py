"""Workers that run and answer nothing: what their parent makes of them, and when."""

import asyncio
import os
import signal
import sys
from functools import partial

import pytest
from support.rows import random_rows
from support.tables import write_table
from support.virtual_clock import virtually

from store_server.config import ServerConfig
from store_server.workers.kept_files import KeptFiles
from store_server.workers.process import WorkerProcess, why_it_ended
from store_server.workers.silence import ask_again_and_again, is_lost, serves
from store_server.workers.supervisor import Supervisor, WorkersFailed

PATIENCE_SECONDS = 60
SECONDS_TO_SERVE, SECONDS_TO_LIVE, SECONDS_TO_BEGIN, SECONDS_TO_END = 5, 20, 120, 60
SAYS_NOTHING = (sys.executable, "-c", "import time; time.sleep(3600)")
FORGETS_TO_ANSWER_ONCE = """
import sys, time
from store_server.workers.channel import Channel
from store_server.workers.settings import WorkerSettings
control = Channel.inherited(WorkerSettings.from_argument(sys.argv[1]).control_descriptor)
control.receive()
control.send(control.receive().message)
time.sleep(3600)
"""
starts_mute = partial(WorkerProcess.start, program=SAYS_NOTHING)


class FakeWorker:
    """Answers nothing from now on; `ends` says whether a signal ends it, `has_answered` whether it spoke before."""

    number, pid, is_serving, failure = 0, 1, True, ""

    def __init__(self, *, ends=True, has_answered=True):
        self.unanswered = 0
        self.has_answered = has_answered
        self.signals = []
        self.ended = asyncio.get_running_loop().create_future()
        self._ends = ends

    def ask_for_life(self):
        self.unanswered += 1

    def send_signal(self, number):
        self.signals.append((number, asyncio.get_running_loop().time()))
        if self._ends:
            self.ended.set_result(-number)


async def found_each_second(worker, seconds):
    """Return what is thought of a worker after each second."""
    found = []
    asking = asyncio.create_task(
        ask_again_and_again(lambda: [worker], lambda: found.append((serves(worker), is_lost(worker))))
    )
    await asyncio.sleep(seconds + 0.5)
    asking.cancel()
    return found


@virtually
async def test_a_silent_worker_does_not_serve_then_is_killed_and_no_longer_asked():
    worker = FakeWorker()

    found = await found_each_second(worker, 100)

    assert [serves for serves, _ in found].index(False) + 1 == SECONDS_TO_SERVE
    assert worker.signals == [(signal.SIGKILL, SECONDS_TO_LIVE)]
    assert worker.failure == "did not answer for 20 s, so it was killed"
    assert not any(is_lost for _, is_lost in found)


@virtually
async def test_a_worker_that_not_even_a_signal_ends_is_lost():
    worker = FakeWorker(ends=False)

    found = await found_each_second(worker, 100)

    assert [is_lost for _, is_lost in found].index(True) + 1 == SECONDS_TO_LIVE + SECONDS_TO_END
    assert len(worker.signals) == 1


@virtually
async def test_a_worker_that_never_said_anything_has_time_to_begin():
    worker = FakeWorker(has_answered=False)

    await found_each_second(worker, 200)

    assert worker.signals == [(signal.SIGKILL, SECONDS_TO_BEGIN)]
    assert worker.failure == "did not answer for 120 s, so it was killed"


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGBUS, "killed by SIGBUS"),
        (signal.SIGABRT, "killed by SIGABRT"),
        (signal.SIGKILL, "did not answer for 20 s, so it was killed"),
    ],
)
async def test_a_worker_that_dies_of_itself_while_it_is_silent_died_of_that(tmp_path, number, why):
    worker = starts_mute(0, ServerConfig(root=tmp_path), None, KeptFiles())
    worker.failure = "did not answer for 20 s, so it was killed"
    worker.send_signal(number)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await worker.ended

    assert why_it_ended(worker) == why


@virtually
async def test_a_worker_that_said_why_it_fails_and_then_hangs_failed_for_that():
    worker = FakeWorker()
    worker.failure = "table t is damaged"

    await found_each_second(worker, SECONDS_TO_LIVE)

    assert worker.signals
    assert worker.failure == "table t is damaged"


async def test_a_worker_that_never_served_served_for_no_time_however_long_it_ran(tmp_path):
    worker = starts_mute(0, ServerConfig(root=tmp_path), None, KeptFiles())
    worker.send_signal(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await worker.ended

    assert worker.served_seconds == 0.0


async def test_a_question_whose_answer_is_lost_is_asked_again_before_a_worker_is_ended(tmp_path):
    worker = WorkerProcess.start(
        0, ServerConfig(root=tmp_path), None, KeptFiles(), program=(sys.executable, "-c", FORGETS_TO_ANSWER_ONCE)
    )
    for _ in range(SECONDS_TO_LIVE - 1):
        worker.ask_for_life()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not worker.has_answered:
            await asyncio.sleep(0.001)

        assert worker.unanswered == 0
        worker.send_signal(signal.SIGKILL)
        await worker.ended


async def test_a_node_whose_first_worker_says_nothing_at_all_says_so_and_ends(tmp_path):
    supervisor = Supervisor([ServerConfig(root=tmp_path)], [None], start=starts_mute)
    running = asyncio.create_task(supervisor.run(lambda _: None))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (worker := supervisor.worker(0)) is None:
            await asyncio.sleep(0)
        worker.unanswered = SECONDS_TO_BEGIN - 1

        with pytest.raises(WorkersFailed, match=r"^worker 0 of 1: did not answer for 120 s, so it was killed$"):
            await running


async def test_a_node_with_a_stopped_worker_is_not_ready_until_it_goes_on(tmp_path):
    write_table(tmp_path / "root", "t", random_rows(100, 16))
    supervisor = Supervisor(
        [ServerConfig(root=tmp_path / "root", listen="127.0.0.1:0")], [None], start=WorkerProcess.start
    )
    told, ready = asyncio.Queue(), asyncio.Event()
    supervisor.readiness = told.put_nowait
    running = asyncio.create_task(supervisor.run(lambda _: ready.set()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        worker = supervisor.worker(0)
        while not worker.has_answered:  # or it had more time
            await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGSTOP)
        while await told.get():
            pass
        assert supervisor.is_alive()
        assert worker.served_seconds > 0
        os.kill(worker.pid, signal.SIGCONT)
        while not await told.get():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0
    assert supervisor.restarts[0] == 0

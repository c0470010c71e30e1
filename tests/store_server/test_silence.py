"""Workers that run and answer nothing: what their parent makes of them, and when."""

import asyncio
import os
import signal

from support.rows import random_rows
from support.tables import write_table
from support.virtual_clock import virtually

from store_server.config import ServerConfig
from store_server.workers.process import WorkerProcess
from store_server.workers.silence import ask_again_and_again, is_lost, serves
from store_server.workers.supervisor import Supervisor

PATIENCE_SECONDS = 60
SECONDS_TO_SERVE, SECONDS_TO_LIVE, SECONDS_TO_COUNT = 5, 20, 30


class FakeWorker:
    """Answers nothing from now on; `ends` says whether a signal ends it."""

    number, pid, is_serving, failure = 0, 1, True, ""

    def __init__(self, *, ends=True):
        self.unanswered = 0
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

    assert [is_lost for _, is_lost in found].index(True) + 1 == SECONDS_TO_COUNT
    assert len(worker.signals) == 1


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
        while not worker.unanswered:  # it has answered once, or nothing would count
            await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGSTOP)
        while await told.get():
            pass
        assert supervisor.is_alive()
        os.kill(worker.pid, signal.SIGCONT)
        while not await told.get():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0
    assert supervisor.restarts[0] == 0

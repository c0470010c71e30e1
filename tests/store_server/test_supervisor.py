"""The parent of workers when things go wrong: processes that cannot be started, and signals that come at a bad time."""

import asyncio
import errno
import os
import signal
from pathlib import Path

import pytest

from store_server.config import ServerConfig
from store_server.storage.data_root import Place, PlacedVersion
from store_server.workers.kept_files import KeptFiles
from store_server.workers.process import WorkerProcess
from store_server.workers.supervisor import Supervisor, WorkersFailed

PATIENCE_SECONDS = 30
NO_MORE_FILES = OSError(errno.EMFILE, "Too many open files")


class FakeWorker:
    """A process that listens at once, and ends when it is told to."""

    pid = 1
    failure = ""
    culprit = None
    served_seconds = 1.0
    has_answered = True
    unanswered = 0

    def __init__(self, number, config, *, serves):
        loop = asyncio.get_running_loop()
        self.serves = serves
        self.number = number
        self.quarantined = []
        self.listening, self.ready, self.ended, self.told_to_end = (loop.create_future() for _ in range(4))
        self.listening.set_result(config.listen)

    @property
    def is_serving(self):
        return None if self.ended.done() else self.serves

    def ask_for_life(self):
        pass

    def name_workers(self, _node_id, _listen):
        self.ready.set_result(None)

    def tell_quarantine(self, placed, _reason, *, is_written):
        self.quarantined.append((placed, is_written))

    def die_of(self, version=None):
        self.culprit = version
        self.ended.set_result(-signal.SIGBUS if version else -signal.SIGKILL)

    def send_signal(self, number):
        if not self.ended.done():
            self.told_to_end.set_result(number)
            self.ended.set_result(-number)


class Starts:
    """Starts fake workers, except for those starts that `failures` gives a reason for."""

    def __init__(self, failures=None, *, serves=True):
        self.failures = failures or {}
        self.serves = serves
        self.workers = []
        self.tries = 0

    def __call__(self, number, config, _placement, _files, _quarantined):
        self.tries += 1
        if self.tries in self.failures:
            raise self.failures[self.tries]
        self.workers.append(FakeWorker(number, config, serves=self.serves))
        return self.workers[-1]

    async def replaced(self, worker, version=None):
        """Have a worker die, of a version or of nothing that is known, and wait until another is started."""
        before = len(self.workers)
        worker.die_of(version)
        while len(self.workers) == before:
            await asyncio.sleep(0.001)


@pytest.fixture
def configs(tmp_path):
    return [ServerConfig(root=tmp_path, listen=f"127.0.0.1:{port}") for port in (1, 2)]


async def no_pause(_seconds):
    pass


def begun(configs, starts):
    """Run a supervisor of such workers; returns the task, and what is set once all of them serve."""
    ready = asyncio.Event()
    supervisor = Supervisor(configs, [None, None], start=starts, sleep=no_pause)
    return asyncio.create_task(supervisor.run(lambda _: ready.set())), ready


async def test_a_worker_that_cannot_be_started_again_is_tried_once_more(configs):
    starts, ready = Starts({3: NO_MORE_FILES, 4: NO_MORE_FILES}), asyncio.Event()
    supervisor = Supervisor(configs, [None, None], start=starts, sleep=no_pause)
    running = asyncio.create_task(supervisor.run(lambda _: ready.set()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        starts.workers[1].ended.set_result(-signal.SIGKILL)
        while len(starts.workers) < 3:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0

    assert [worker.number for worker in starts.workers] == [0, 1, 1]


async def test_a_worker_that_dies_again_and_again_does_not_end_those_that_serve(configs):
    starts, ready, pauses = Starts(), asyncio.Event(), []

    async def note(seconds):
        pauses.append(seconds)

    supervisor = Supervisor(configs, [None, None], start=starts, sleep=note)
    running = asyncio.create_task(supervisor.run(lambda _: ready.set()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        for deaths in range(20):
            starts.workers[-1].failure = "tokens.toml cannot be read"
            starts.workers[-1].ended.set_result(1)
            while len(starts.workers) < deaths + 3:
                await asyncio.sleep(0)
        assert not starts.workers[0].ended.done()
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0

    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert set(pauses[4:]) == {5.0}


async def test_a_worker_that_can_never_be_started_again_where_no_other_serves_ends_the_node_with_the_reason(configs):
    starts, ready = Starts(dict.fromkeys(range(3, 100), NO_MORE_FILES), serves=False), asyncio.Event()
    running = asyncio.create_task(
        Supervisor(configs, [None, None], start=starts, sleep=no_pause).run(lambda _: ready.set())
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        starts.workers[1].ended.set_result(-signal.SIGKILL)

        with pytest.raises(
            WorkersFailed, match="worker 1 could not be started 5 times in a row: .*Too many open files"
        ):
            await running

    assert starts.workers[0].told_to_end.done()


async def test_versions_that_end_workers_do_not_end_the_node_before_all_are_in_quarantine(configs):
    versions = [PlacedVersion(name, "0" * 32, Place(1, 2, 3)) for name in "abcd"]
    starts, ready = Starts(), asyncio.Event()
    supervisor = Supervisor(configs, [None, None], start=starts, sleep=no_pause)
    running = asyncio.create_task(supervisor.run(lambda _: ready.set()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        for deaths, version in enumerate(version for version in versions for _ in range(2)):
            starts.workers[-1].die_of(version)
            while len(starts.workers) < deaths + 3:
                await asyncio.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0

    # There is no such data root that could be told.
    assert starts.workers[0].quarantined == [(version, False) for version in versions]


async def test_a_death_that_a_version_explains_does_not_end_a_node_whose_worker_died_often_before(configs):
    versions = [PlacedVersion(name, "0" * 32, Place(1, 2, 3)) for name in "ab"]
    starts = Starts()
    running, ready = begun(configs, starts)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        for _ in range(6):  # the worker beside it serves
            await starts.replaced(starts.workers[-1])
        for deaths, version in enumerate(version for version in versions for _ in range(2)):
            # The first death of a version is not explained by it, but the verdict of the second is.
            starts.workers[0].serves = deaths % 2 == 0
            await starts.replaced(starts.workers[-1], version)
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0


async def test_workers_that_die_of_a_version_in_quarantine_end_a_node_that_serves_nobody(configs):
    version = PlacedVersion("a", "0" * 32, Place(1, 2, 3))
    starts, ready = Starts(serves=False), asyncio.Event()
    supervisor = Supervisor(configs, [None, None], start=starts, sleep=no_pause)
    running = asyncio.create_task(supervisor.run(lambda _: ready.set()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        while not running.done():
            if not starts.workers[-1].ended.done():
                starts.workers[-1].die_of(version)
            await asyncio.sleep(0.001)

        with pytest.raises(WorkersFailed, match="worker 1 died 5 times in a row"):
            await running

    assert len(starts.workers) == 2 + 2 + 4


async def test_a_worker_that_dies_again_and_again_beside_one_that_is_silent_for_a_moment_does_not_end_the_node(configs):
    starts = Starts()
    running, ready = begun(configs, starts)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        starts.workers[0].unanswered = 5
        for _ in range(7):
            await starts.replaced(starts.workers[-1])
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0


async def test_a_worker_that_dies_while_others_load_their_tables_is_replaced(configs):
    starts = Starts()
    running, is_ready = begun(configs, starts)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(starts.workers) < 2:
            await asyncio.sleep(0)
        starts.workers[1].name_workers = lambda *_: None
        await starts.workers[0].ready
        await starts.replaced(starts.workers[0])
        assert not is_ready.is_set()
        starts.workers[1].ready.set_result(None)
        await is_ready.wait()
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0


async def test_a_worker_that_dies_again_and_again_while_others_load_their_tables_does_not_end_the_node(configs):
    starts = Starts()
    running, is_ready = begun(configs, starts)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(starts.workers) < 2:
            await asyncio.sleep(0)
        loads = starts.workers[1]
        loads.name_workers, loads.serves = lambda *_: None, None
        await starts.workers[0].ready
        await starts.replaced(starts.workers[0])
        for _ in range(6):
            await starts.replaced(starts.workers[-1])
        assert not running.done()
        loads.serves = True
        loads.ready.set_result(None)
        await is_ready.wait()
        os.kill(os.getpid(), signal.SIGTERM)

        assert await running == 0


async def test_a_worker_that_ends_before_it_ever_served_ends_the_node_with_the_reason(configs):
    starts = Starts()
    running = asyncio.create_task(Supervisor(configs, [None, None], start=starts, sleep=no_pause).run(lambda _: None))
    while len(starts.workers) < 2:
        await asyncio.sleep(0)
    starts.workers[1].name_workers = lambda *_: None
    starts.workers[1].failure = "no table"
    starts.workers[1].ended.set_result(1)

    with pytest.raises(WorkersFailed, match="worker 1 of 2: no table"):
        await running

    assert starts.workers[0].told_to_end.done()


async def test_a_first_worker_that_cannot_be_started_ends_those_before_it(configs):
    starts = Starts({2: NO_MORE_FILES})

    with pytest.raises(WorkersFailed, match="worker 1 of 2 could not be started: .*Too many open files"):
        await Supervisor(configs, [None, None], start=starts).run(lambda _: None)

    assert starts.workers[0].told_to_end.done()


async def test_a_signal_as_the_pause_before_a_restart_ends_leaves_no_worker_behind(configs):
    async def until_a_signal_has_come(_seconds):
        os.kill(os.getpid(), signal.SIGTERM)
        await starts.workers[0].told_to_end

    starts, ready = Starts(), asyncio.Event()
    supervisor = Supervisor(configs, [None, None], start=starts, sleep=until_a_signal_has_come)
    running = asyncio.create_task(supervisor.run(lambda _: ready.set()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ready.wait()
        starts.workers[1].ended.set_result(-signal.SIGTERM)

        await running

    assert len(starts.workers) == 2


async def test_a_process_that_cannot_be_started_leaves_nothing_open(tmp_path):
    too_long_for_an_argument = frozenset({"x" * (256 << 10)})
    config = ServerConfig(root=tmp_path, in_memory=too_long_for_an_argument)
    before = open_files()

    with pytest.raises(OSError, match="Argument list too long") as failed:
        WorkerProcess.start(0, config, None, KeptFiles())

    assert failed.traceback  # whose frames keep alive what was not closed
    assert open_files() <= before  # gRPC may be closing what other tests had


def open_files():
    return {file.name for file in Path("/proc/self/fd").iterdir() if file.exists()}  # not the listing's own

"""A version that ends the workers that read it: the second time it is served no more, and everything else is."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.deadly_worker import DEADLY_ROW, PROGRAM
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub
from store_server.commands import main
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot, VersionQuarantined
from store_server.storage.data_root import Place, PlacedVersion
from store_server.storage.version_quarantine import QUARANTINED
from store_server.workers.deadly_versions import DeadlyVersions
from store_server.workers.marks import Trace
from store_server.workers.process import WorkerProcess
from store_server.workers.settings import divided
from store_server.workers.supervisor import Supervisor

ROWS = random_rows(1_000, 264)
PATIENCE_SECONDS = 60


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "good", ROWS)
    write_table(tmp_path / "root", "bad", ROWS)
    return tmp_path / "root"


class FailingNode:
    """A supervised node on a disk that fails under the table "bad"."""

    def __init__(self):
        self.workers: list[WorkerProcess] = []
        self.url = asyncio.get_running_loop().create_future()

    def start_worker(self, *arguments):
        self.workers.append(WorkerProcess.start(*arguments, program=PROGRAM))
        return self.workers[-1]

    async def started(self, number):
        """Return where the worker listens that was started as the one of that number."""
        while len(self.workers) <= number:
            await asyncio.sleep(0.01)
        await self.workers[number].ready
        return self.workers[number].listening.result()


@contextlib.asynccontextmanager
async def failing_node(root, workers):
    node = FailingNode()
    configs = divided(ServerConfig(root=root, listen="127.0.0.1:0", drain_seconds=1), workers)
    supervisor = Supervisor(configs, [None] * workers, start=node.start_worker)
    running = asyncio.create_task(supervisor.run(lambda address: node.url.set_result(f"grpc://{address}")))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait({running, node.url}, return_when=asyncio.FIRST_COMPLETED)
            yield node
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await running


async def code_of_lookup(address, table, row):
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await LookupServiceStub(channel).Lookup(LookupRequest(table=table, rows=[row]), timeout=PATIENCE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def keep_fetching(url, stop):
    """Fetch from the good table until told to stop, and once more; any failure is raised."""
    async with engram_client.connect(url, timeout=PATIENCE_SECONDS) as store:
        table, is_last = await store.table("good"), False
        while not is_last:
            is_last = stop.is_set()
            assert np.array_equal(await table.fetch([1, 2, DEADLY_ROW]), ROWS[[1, 2, DEADLY_ROW]])
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_version_that_ended_two_workers_is_served_no_more_and_all_else_is(root, workers):
    stop = asyncio.Event()
    async with failing_node(root, workers) as node:
        fetching = asyncio.create_task(keep_fetching(await node.url, stop))
        for death in range(2):
            address = await node.started(0 if workers == 1 and death == 0 else death + workers - 1)
            assert await code_of_lookup(address, "bad", DEADLY_ROW) is grpc.StatusCode.UNAVAILABLE
        last = await node.started(workers + 1)

        assert await code_of_lookup(last, "bad", DEADLY_ROW) is grpc.StatusCode.DATA_LOSS
        assert await code_of_lookup(last, "bad", 1) is grpc.StatusCode.DATA_LOSS
        assert await code_of_lookup(last, "good", DEADLY_ROW) is grpc.StatusCode.OK
        stop.set()
        await fetching
        assert len(node.workers) == workers + 2
    assert [path.parent.parent.parent.name for path in root.rglob(QUARANTINED)] == ["bad"]


async def test_the_other_workers_hear_at_once_of_what_ended_two(root):
    async with failing_node(root, 3) as node:
        await node.url
        for number in (1, 2):
            address = await node.started(number)
            assert await code_of_lookup(address, "bad", DEADLY_ROW) is grpc.StatusCode.UNAVAILABLE
        await node.started(4)

        assert await code_of_lookup(await node.started(0), "bad", DEADLY_ROW) is grpc.StatusCode.DATA_LOSS


async def test_a_node_that_is_started_again_remembers_and_verify_takes_the_version_back(root):
    async with failing_node(root, 1) as node:
        for number in range(2):
            assert await code_of_lookup(await node.started(number), "bad", DEADLY_ROW) is grpc.StatusCode.UNAVAILABLE
        await node.started(2)
    with node_process(root, "--supervise") as again:
        assert await code_of_lookup(again.address, "bad", 1) is grpc.StatusCode.DATA_LOSS

        assert main(["verify", str(root), "bad"]) == 0

        while await code_of_lookup(again.address, "bad", 1) is not grpc.StatusCode.OK:
            await asyncio.sleep(0.05)


def test_a_node_of_one_worker_has_it_replaced_when_asked_to(root):
    with node_process(root, "--supervise") as node:
        assert node.logged("event='worker ready' worker=0 ")
        pid = node.log.partition("event='worker ready'")[2].partition("pid=")[2].split()[0]
        with engram_client.connect_blocking(node.url, timeout=PATIENCE_SECONDS) as store:
            table = store.table("good")
            os.kill(int(pid), signal.SIGKILL)

            assert np.array_equal(table.fetch([5]), ROWS[[5]])
        assert node.logged("event='worker replaced'")
        assert node.stop() == 0


def placed_version(root, table):
    data_root = DataRoot.open(root)
    version = data_root.current_version(table)
    return PlacedVersion(table, version, data_root.place(table, version))


async def test_a_version_of_which_the_disk_cannot_be_told_is_in_quarantine_all_the_same(root):
    placed = placed_version(root, "bad")
    (DataRoot(root).version_path("bad", placed.version) / f"{QUARANTINED}.new").mkdir()
    deadly = DeadlyVersions(root)

    assert await deadly.note_death(placed, "killed by SIGBUS") is None
    verdict = await deadly.note_death(placed, "killed by SIGBUS")

    assert not verdict.is_written
    assert "until the node is started again" in verdict.reason
    assert deadly.unwritten == ((placed, verdict.reason),)


async def test_a_process_that_is_told_serves_the_version_no_more_until_it_ends(root):
    placed = placed_version(root, "bad")
    async with running(ServerConfig(root=root, listen="127.0.0.1:0")) as node:
        assert await code_of_lookup(node.address, "bad", 1) is grpc.StatusCode.OK

        await node.note_quarantine(placed, "it ended two workers", is_written=False)

        async with grpc.aio.insecure_channel(node.address) as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="bad"))
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await code_of_lookup(node.address, "bad", 1) is grpc.StatusCode.DATA_LOSS
        assert await code_of_lookup(node.address, "good", 1) is grpc.StatusCode.OK
    async with running(ServerConfig(root=root, listen="127.0.0.1:0")) as node:
        assert await code_of_lookup(node.address, "bad", 1) is grpc.StatusCode.OK


async def test_a_version_that_was_replaced_meanwhile_stays_out_of_quarantine(root):
    placed = placed_version(root, "bad")
    deadly = DeadlyVersions(root)
    await deadly.note_death(placed._replace(place=Place(1, 2, 3)), "killed by SIGBUS")
    await deadly.note_death(placed._replace(place=Place(1, 2, 3)), "killed by SIGBUS")

    DataRoot.open(root).stored_version("bad", placed.version)

    await deadly.note_death(placed, "killed by SIGBUS")
    await deadly.note_death(placed, "killed by SIGBUS")
    with pytest.raises(VersionQuarantined, match="killed by SIGBUS"):
        DataRoot.open(root).stored_version("bad", placed.version)


READS_TWO_AND_DIES = """
import sys, threading
sys.path.insert(0, {tests!r})
from store_server.storage.data_root import Place, PlacedVersion
from store_server.workers.marks import Marks
import numpy, support.deadly_worker as deadly
marks = Marks({descriptor})
reading = threading.Barrier(2)
def read_for_ever():
    with marks.reading(PlacedVersion("innocent", "0" * 32, Place(1, 2, 3))):
        reading.wait()
        threading.Event().wait()
threading.Thread(target=read_for_ever, daemon=True).start()
reading.wait()
with marks.reading(PlacedVersion("guilty", "1" * 32, Place(1, 2, 4))):
    deadly.touch_a_map_cut_short(numpy.array([7]))
"""


def test_what_another_thread_reads_meanwhile_is_not_blamed():
    trace = Trace()
    tests = str(Path(__file__).parents[1])
    program = READS_TWO_AND_DIES.format(tests=tests, descriptor=trace.descriptor)

    ended = subprocess.run([sys.executable, "-c", program], pass_fds=[trace.descriptor], timeout=60, check=False)

    assert ended.returncode == -signal.SIGBUS
    assert trace.culprit() == PlacedVersion("guilty", "1" * 32, Place(1, 2, 4))
    trace.close()


@pytest.mark.parametrize("name", [b"null", b"7", b'["a", "b"]', b'["a", "b", [1]]', b'["a", NaN, [1, 2, 3]]', b'["a"'])
def test_a_mark_that_a_dying_worker_spoilt_names_nobody(name):
    trace = Trace()

    os.pwrite(trace.descriptor, (7).to_bytes(8, "little") + name, 0)

    assert trace.culprit() is None
    trace.close()

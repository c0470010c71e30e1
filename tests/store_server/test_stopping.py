"""How a node stops: who is told, what is finished first, and what is not waited for."""

import asyncio
import contextlib
import threading

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.hooked_root import ColdBackend, HookedRoot, happened, node_on
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2_grpc as lookup_pb2_grpc
from engram_store.v1.lookup_service_pb2 import LookupRequest, LookupStreamRequest
from store_server.catalog import Catalog
from store_server.config import ServerConfig
from store_server.storage import DataRoot, LoadingStopped
from store_server.storage.memory_backend import MemoryBackend

ROWS = random_rows(5000, 264)
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LONG_SECONDS = 3600.0


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "layer-1", ROWS)
    return tmp_path / "root"


async def test_a_signal_is_told_to_those_who_watch_and_lookups_that_came_before_it_are_answered(root):
    """More replies are asked for than fit on the way, so that they are under way until they are read."""
    ids = np.arange(4000)
    with node_process(root) as node:
        async with grpc.aio.insecure_channel(node.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="layer-1"))
            await watch.read()
            stream = lookup_pb2_grpc.LookupServiceStub(channel).LookupStream()
            for number in range(1, 41):
                await stream.write(LookupStreamRequest(id=number, table="layer-1", rows=ids))
            await stream.read()

            node.process.terminate()
            assert await asyncio.to_thread(node.logged, "draining")

            assert (await watch.read()).status == NOT_SERVING
            for _ in range(39):
                assert (await stream.read()).rows == ROWS[:4000].tobytes()
        assert await asyncio.to_thread(node.wait) == 0


async def test_a_stop_does_not_wait_for_those_who_only_watch_but_tells_them(root):
    async with (
        node_on(HookedRoot(root, open_as_it_is), drain_seconds=LONG_SECONDS) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        await watch.read()

        async with asyncio.timeout(60):
            await node.drain()

        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError):
            await watch.read()


def open_as_it_is(open_backend, name, version, **options):
    return open_backend(name, version, **options)


@pytest.mark.parametrize("way", ["unary", "stream"])
async def test_a_stop_waits_for_the_lookups_that_are_under_way(root, way):
    gathering, may_go_on = threading.Event(), threading.Event()

    def wait(_):
        gathering.set()
        assert may_go_on.wait(60)

    def cold(open_backend, name, version, **options):
        return ColdBackend(open_backend(name, version, **options), wait)

    async with (
        node_on(HookedRoot(root, cold), drain_seconds=LONG_SECONDS) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        stub = lookup_pb2_grpc.LookupServiceStub(channel)
        lookup = asyncio.create_task(looked_up(stub, way))
        await happened(gathering)
        draining = asyncio.create_task(node.drain())

        assert (await asyncio.wait({draining}, timeout=0.4))[1] == {draining}
        may_go_on.set()
        assert await lookup == ROWS[7].tobytes()
        async with asyncio.timeout(60):
            await draining


async def looked_up(stub, way):
    if way == "unary":
        return (await stub.Lookup(LookupRequest(table="layer-1", rows=[7]))).rows
    stream = stub.LookupStream()
    await stream.write(LookupStreamRequest(id=1, table="layer-1", rows=[7]))
    return (await stream.read()).rows


class EndlessLoading:
    """A hook under which tables are loaded into memory until that is stopped, once `begins` is set."""

    def __init__(self):
        self.begins, self.loading, self.stopped = False, threading.Event(), threading.Event()

    def __call__(self, open_backend, name, version, **options):
        if self.begins and options["in_memory"]:
            self.loading.set()
            assert options["stop"].wait(60)
            self.stopped.set()
            raise LoadingStopped(name)
        return open_backend(name, version, **options)


async def test_a_stop_ends_the_loading_of_a_table_into_memory(root):
    hook = EndlessLoading()
    async with node_on(HookedRoot(root, hook), in_memory=frozenset({"layer-1"}), reload_seconds=0.01) as node:
        hook.begins = True
        await asyncio.to_thread(write_table, root, "layer-1", ROWS[::-1].copy())
        await happened(hook.loading)
        assert not hook.stopped.is_set()

        await node.drain()

        await happened(hook.stopped)


def test_what_was_not_loaded_to_the_end_does_not_become_current(root):
    hook, before = EndlessLoading(), DataRoot.open(root).current_version("layer-1")
    catalog = Catalog(HookedRoot(root, hook), ServerConfig(root=root, in_memory=frozenset({"layer-1"})))
    catalog.reload()
    hook.begins = True
    write_table(root, "layer-1", ROWS[::-1].copy())
    reloading = threading.Thread(target=catalog.reload)
    reloading.start()
    assert hook.loading.wait(60)
    assert catalog.is_loading

    catalog.stop_following()
    reloading.join(60)

    assert not catalog.is_loading
    found = catalog.find("layer-1", "")
    assert (found.version, found.backend.kind) == (before, "memory")
    catalog.close()


def test_a_close_does_not_wait_for_ever_for_a_disk_that_does_not_answer(root):
    may_answer, asked = threading.Event(), threading.Event()

    class Stuck(DataRoot):
        def table_names(self):
            asked.set()
            assert may_answer.wait(60)
            return super().table_names()

    catalog = Catalog(Stuck(root), ServerConfig(root=root))
    looking = threading.Thread(target=catalog.reload)
    looking.start()
    assert asked.wait(60)
    closing = threading.Thread(target=catalog.close)
    closing.start()

    closing.join(30)

    is_closed = not closing.is_alive()
    may_answer.set()
    looking.join(60)
    assert is_closed


def test_loading_into_memory_ends_at_the_next_block(root):
    data_root, stop, read = DataRoot.open(root), threading.Event(), []
    stored = data_root.stored_version("layer-1", data_root.current_version("layer-1"))

    class StoppedAtTheFirstBlock:
        def read_checked_into(self, block, _):
            read.append(block)
            stop.set()

    assert stored.manifest.num_blocks > 1
    with pytest.raises(LoadingStopped, match="'layer-1'"):
        MemoryBackend(stored, StoppedAtTheFirstBlock(), stop=stop)
    assert read == [0]


async def test_what_nobody_waits_for_any_more_is_not_gathered(root):
    gathered, gathering, may_go_on = [], threading.Event(), threading.Event()

    def wait(rows):
        gathered.append(int(rows[0]))
        gathering.set()
        assert may_go_on.wait(60)

    def cold(open_backend, name, version, **options):
        return ColdBackend(open_backend(name, version, **options), wait)

    async with (
        node_on(HookedRoot(root, cold), gather_threads=1) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        stub = lookup_pb2_grpc.LookupServiceStub(channel)
        stream = stub.LookupStream()
        for number in range(1, 11):
            await stream.write(LookupStreamRequest(id=number, table="layer-1", rows=[number]))
        await happened(gathering)
        unary = stub.Lookup(LookupRequest(table="layer-1", rows=[20]))
        stream.cancel()
        unary.cancel()
        for _ in range(10):  # on the same connection, so the node has heard of the others' end when it answers
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.Lookup(LookupRequest(table="none"))
        last = stub.Lookup(LookupRequest(table="layer-1", rows=[30]))
        may_go_on.set()

        assert (await last).rows == ROWS[30].tobytes()
        assert len(gathered) == 2
        assert gathered[-1] == 30

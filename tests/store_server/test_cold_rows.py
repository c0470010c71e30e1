"""Rows whose pages are not in RAM come from threads; the event loop goes on meanwhile."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from support.checkpoints import attach_rows
from support.cold_pages import forget_pages, pages_in_cache
from support.hooked_root import ColdBackend, HookedRoot, happened, node_on
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors
from engram_store.v1.lookup_service_pb2 import LookupRequest, LookupStreamRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot

ROWS = random_rows(20_000, 264)


@pytest.fixture(params=["mmap", "lmdb", "safetensors"])
def root(request, tmp_path):
    root = tmp_path / "root"
    for name, rows in (("cold", ROWS), ("warm", ROWS[::-1].copy())):
        if request.param == "safetensors":
            attach_rows(root, name, rows)
        else:
            write_table(root, name, rows, backend=request.param)
    if forget_pages(root, "cold") == 1:
        pytest.skip("this file system keeps its pages; the test needs one on a disk")
    return root


def followed_never(root, **options) -> ServerConfig:
    """A node that looks for what lies in RAM once at the start and then, in these tests, never again."""
    return ServerConfig(root=root, listen="127.0.0.1:0", reload_seconds=3600, **options)


async def test_cold_and_warm_tables_answer_side_by_side_with_the_right_rows(root):
    ids = np.random.default_rng(0).integers(0, len(ROWS), (20, 500))
    async with running(followed_never(root)) as node, engram_client.connect(f"grpc://{node.address}") as store:
        cold, warm = await store.table("cold"), await store.table("warm")
        pending = [(cold.prefetch(some), warm.prefetch(some)) for some in ids]

        for some, (cold_rows, warm_rows) in zip(ids, pending, strict=True):
            assert np.array_equal(await cold_rows, ROWS[some])
            assert np.array_equal(await warm_rows, ROWS[::-1][some])


async def test_cold_rows_are_read_from_files_too(root):
    async with engram_client.connect(f"file://{root}") as store:
        table = await store.table("cold")
        ids = np.random.default_rng(1).integers(0, len(ROWS), 5000)

        assert np.array_equal(await table.fetch(ids), ROWS[ids])


@pytest.mark.parametrize("way", ["file", "grpc"])
async def test_a_cancelled_fetch_of_cold_rows_leaves_the_callers_buffer_alone(root, way):
    ids = np.random.default_rng(2).integers(0, len(ROWS), (30, 2000))
    out = np.full((*ids.shape, 264), 0xEE, np.uint8)
    # One thread, so that what is handed to it last ends last.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with running(followed_never(root)) as node:
        url = f"file://{root}" if way == "file" else f"grpc://{node.address}"
        async with engram_client.connect(url) as store:
            table = await store.table("cold")
            fetches = [asyncio.create_task(table.fetch(some, out=part)) for some, part in zip(ids, out, strict=True)]
            await fetches[0]
            late = [number for number, fetch in enumerate(fetches) if fetch.cancel()]
            await asyncio.gather(*fetches, return_exceptions=True)
            late = [number for number in late if fetches[number].cancelled()]
            found = out[late].copy()
            again = await table.fetch(ids)
            await asyncio.to_thread(lambda: None)

            assert np.array_equal(again, ROWS[ids])
            # A fetch whose rows had come before it was cancelled may have put them down; nothing comes afterwards.
            assert np.array_equal(out[late], found)


async def test_a_table_cut_short_under_a_node_is_refused_and_the_others_are_served(tmp_path):
    root = tmp_path / "root"
    write_table(root, "cut", ROWS)
    write_table(root, "whole", ROWS)
    data_root = DataRoot.open(root)
    path = data_root.stored_version("cut", data_root.current_version("cut")).data_path
    async with running(followed_never(root)) as node, engram_client.connect(f"grpc://{node.address}") as store:
        cut, whole = await store.table("cut"), await store.table("whole")
        assert np.array_equal(await cut.fetch([0, 19_999]), ROWS[[0, 19_999]])

        os.truncate(path, 4096)

        with pytest.raises(errors.TableDamaged, match="'cut'"):
            await cut.fetch([0, 19_999])
        with pytest.raises(errors.TableDamaged, match="log"):
            await store.table("cut")  # asked for a description, the node looks, and then says so to everybody
        assert np.array_equal(await whole.fetch([0, 19_999]), ROWS[[0, 19_999]])


@pytest.mark.parametrize("way", ["unary", "stream"])
async def test_rows_that_may_be_cold_are_gathered_beside_the_event_loop(tmp_path, way):
    write_table(tmp_path / "root", "cold", ROWS)
    write_table(tmp_path / "root", "warm", ROWS)
    gathering, may_go_on = threading.Event(), threading.Event()

    def wait(_):
        gathering.set()
        assert may_go_on.wait(30)

    def hook(open_backend, name, version, **options):
        backend = open_backend(name, version, **options)
        return ColdBackend(backend, wait) if name == "cold" else backend

    async with (
        node_on(HookedRoot(tmp_path / "root", hook)) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        stub = LookupServiceStub(channel)
        if way == "unary":
            lookup = asyncio.ensure_future(stub.Lookup(LookupRequest(table="cold", rows=[7])))
        else:
            stream = stub.LookupStream()
            await stream.write(LookupStreamRequest(id=1, table="cold", rows=[7]))
            lookup = asyncio.create_task(stream.read())
        await happened(gathering)

        assert (await stub.Lookup(LookupRequest(table="warm", rows=[5]))).rows == ROWS[5].tobytes()
        may_go_on.set()
        assert (await lookup).rows == ROWS[7].tobytes()


@pytest.mark.parametrize(("niceness_of_node", "niceness"), [(5, 10), (15, 15)])
def test_cold_rows_are_read_after_others_also_by_a_node_that_comes_after_others_itself(
    tmp_path, niceness_of_node, niceness
):
    """To come less after others than the node takes a privilege that it may not have."""
    write_table(tmp_path / "root", "cold", ROWS)
    found = []

    def note(_):
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def hook(open_backend, name, version, **options):
        return ColdBackend(open_backend(name, version, **options), note)

    async def fetch():
        async with (
            node_on(HookedRoot(tmp_path / "root", hook)) as node,
            engram_client.connect(f"grpc://{node.address}") as store,
        ):
            await (await store.table("cold")).fetch([7])

    def run_node():
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness_of_node)  # and so of threads it starts
        asyncio.run(fetch())

    thread = threading.Thread(target=run_node)
    thread.start()
    thread.join(60)

    assert found == [niceness]


def resident_kib(process_id: int) -> int:
    with open(f"/proc/{process_id}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssFile:"))


def test_a_node_with_a_memory_budget_serves_a_larger_table_within_it(tmp_path):
    root, rows = tmp_path / "root", random_rows(400_000, 264)
    write_table(root, "large", rows)
    if forget_pages(root, "large") == 1:
        pytest.skip("this file system keeps its pages; the test needs one on a disk")
    chosen = np.random.default_rng(4)
    with (
        node_process(root, "--memory-budget", "16MiB", is_fresh=True) as node,
        engram_client.connect_blocking(node.url, timeout=60) as store,
    ):
        table = store.table("large")
        code_kib = resident_kib(node.process.pid)
        for _ in range(10):
            ids = chosen.integers(0, len(rows), 5000)
            assert np.array_equal(table.fetch(ids), rows[ids])

        assert pages_in_cache(root, "large").resident_bytes <= 18 << 20
        assert resident_kib(node.process.pid) - code_kib <= 24 << 10

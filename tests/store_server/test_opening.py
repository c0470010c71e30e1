"""Versions that are opened: when, how, in how many files, and what if that fails for a while."""

import asyncio
import contextlib
import os
import resource
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.checkpoints import attach_rows
from support.hooked_root import ColdBackend, HookedRoot, happened, node_on
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_store.v1 import lookup_service_pb2_grpc as lookup_pb2_grpc
from engram_store.v1.lookup_service_pb2 import LookupRequest
from store_server import failures
from store_server.catalog import Catalog
from store_server.config import ServerConfig
from store_server.node import running
from store_server.opening import NothingToServe
from store_server.storage import (
    DataRoot,
    NotEnoughMemory,
    StorageFailure,
    TableNotFound,
    VersionUnavailable,
    root_writer,
)
from store_server.storage.files.version_files import open_files

OLD, NEW = random_rows(100, 16, seed=1), random_rows(120, 16, seed=2)


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "layer-1", OLD)
    return tmp_path / "root"


def serving(root, **settings):
    return running(ServerConfig(root=root, listen="127.0.0.1:0", **settings))


class Refusing:
    """A hook that refuses to open one table as long as there is an error."""

    def __init__(self, table, error):
        self.table, self.error = table, error

    def __call__(self, open_backend, name, version, **options):
        if name == self.table and self.error is not None:
            raise self.error
        return open_backend(name, version, **options)


async def test_a_version_that_cannot_be_opened_for_a_while_is_unavailable_and_served_by_itself_afterwards(root, capsys):
    write_table(root, "layer-2", NEW)
    version = DataRoot.open(root).current_version("layer-1")
    hook = Refusing("layer-1", StorageFailure(root, "Too many open files"))
    async with (
        node_on(HookedRoot(root, hook)) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        stub, check = lookup_pb2_grpc.LookupServiceStub(channel), health_pb2_grpc.HealthStub(channel).Check
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Lookup(LookupRequest(table="layer-1", rows=[0]))
        for _ in range(3):
            assert [table.name for table in await store.tables()] == ["layer-2"]  # reloads each time
        health = await check(health_pb2.HealthCheckRequest(service="layer-1"))
        hook.error = NotEnoughMemory("layer-1", 5, "none left")
        await store.tables()
        hook.error = None
        table = await store.table("layer-1")

        assert np.array_equal(await table.fetch([5]), OLD[[5]])

    info = ErrorInfo()
    Status.FromString(dict(refused.value.trailing_metadata())["grpc-status-details-bin"]).details[0].Unpack(info)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (info.reason, dict(info.metadata)) == ("VERSION_UNAVAILABLE", {"table": "layer-1", "version": version})
    assert str(root) not in refused.value.details()
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    log = capsys.readouterr().out
    assert log.count("Too many open files") == 1
    assert log.count("none left") == 1


def test_a_version_that_could_not_be_opened_for_a_lookup_is_tried_again_after_the_next_look(root):
    old = DataRoot.open(root).current_version("layer-1")
    write_table(root, "layer-1", NEW)
    hook = Refusing("layer-1", None)
    catalog = Catalog(HookedRoot(root, hook), ServerConfig(root=root))
    catalog.reload()
    hook.error = StorageFailure(root, "Too many open files")
    for _ in range(2):
        with pytest.raises(VersionUnavailable, match="Too many open files"):
            catalog.open("layer-1", old)
    hook.error = None

    catalog.reload()

    assert catalog.open("layer-1", old).version == old
    catalog.close()


async def test_a_client_waits_for_a_version_that_cannot_be_opened_just_now(root):
    write_table(root, "layer-2", NEW)
    hook = Refusing("layer-1", StorageFailure(root, "Too many open files"))
    async with node_on(HookedRoot(root, hook)) as node, engram_client.connect(f"grpc://{node.address}") as store:
        opening = asyncio.create_task(store.table("layer-1"))
        await store.table("layer-2")
        hook.error = None

        assert np.array_equal(await (await opening).fetch([5]), OLD[[5]])


async def test_a_node_that_can_open_nothing_does_not_start(root):
    hook = Refusing("layer-1", StorageFailure(root, "Too many open files"))

    with pytest.raises(NothingToServe):
        async with node_on(HookedRoot(root, hook)):
            pass


def descriptors():
    """The numbers of the files that this process has open; one of them is that of looking."""
    return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]


def num_open_below(directory):
    """How many descriptors of this process lead into a directory: what other tests left behind does not count."""
    links = [os.path.realpath(f"/proc/self/fd/{descriptor}") for descriptor in descriptors()]
    return sum(link.startswith(f"{directory.resolve()}/") for link in links)


@contextlib.contextmanager
def files_left(number):
    """Let this process open only so many more files as long as the block lasts."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as holes:
        highest = max(descriptors())
        while (descriptor := os.open("/dev/null", os.O_RDONLY)) < highest:
            holes.callback(os.close, descriptor)
        os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor + number, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("backend", ["mmap", "lmdb", "safetensors"])
def test_to_have_no_file_descriptor_left_is_no_damage(tmp_path, backend):
    if backend == "safetensors":
        version = attach_rows(tmp_path / "root", "t", OLD)
    else:
        version = write_table(tmp_path / "root", "t", OLD, backend=backend)
    root, refused = DataRoot.open(tmp_path / "root"), 0
    stored = root.stored_version("t", version)

    with pytest.raises(StorageFailure), files_left(0):
        open_files(stored)
    with pytest.raises(StorageFailure), files_left(0):
        root.open_backend("t", version)
    for number in range(1, 8):
        with contextlib.suppress(StorageFailure), files_left(number):
            refused += 1
            root.open_backend("t", version).close()
            refused -= 1

    assert 0 < refused < 7


def catalog_of(root, **settings):
    return Catalog(DataRoot.open(root), ServerConfig(root=root, **settings))


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_table_takes_one_file_descriptor_however_many_versions_it_has(tmp_path, backend):
    versions = []
    for table in range(10):
        versions += [write_table(tmp_path / "root", f"t-{table}", rows, backend=backend) for rows in (OLD, NEW)]
    catalog = catalog_of(tmp_path / "root")
    before = num_open_below(tmp_path)

    catalog.reload()
    catalog.reload()

    assert num_open_below(tmp_path) - before == 10
    assert catalog.find("t-0", versions[0]) is None
    assert catalog.open("t-0", versions[0]) is catalog.open("t-0", versions[0])
    assert num_open_below(tmp_path) - before == 11
    catalog.close()
    assert num_open_below(tmp_path) == before


def test_a_node_may_have_as_many_files_open_as_the_hard_limit_says(root):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(soft, hard - 1, 256)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        with node_process(root, is_fresh=True) as node:
            assert resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_version_that_is_not_current_is_opened_beside_the_event_loop_when_it_is_looked_up(root):
    old = DataRoot.open(root).current_version("layer-1")
    write_table(root, "layer-1", NEW)
    opening, may_go_on = threading.Event(), threading.Event()

    def slowly(open_backend, name, version, **options):
        if version == old:
            opening.set()
            assert may_go_on.wait(30)
        return open_backend(name, version, **options)

    async with node_on(HookedRoot(root, slowly)) as node, grpc.aio.insecure_channel(node.address) as channel:
        stub = lookup_pb2_grpc.LookupServiceStub(channel)
        lookups = [stub.Lookup(LookupRequest(table="layer-1", version=old, rows=[7])) for _ in range(3)]
        await happened(opening)

        assert (await stub.Lookup(LookupRequest(table="layer-1", rows=[7]))).rows == NEW[7].tobytes()
        may_go_on.set()
        assert [(await lookup).rows for lookup in lookups] == [OLD[7].tobytes()] * 3


async def test_the_current_version_is_in_memory_whichever_becomes_it_and_no_lookup_fails_meanwhile(root):
    old = DataRoot.open(root).current_version("layer-1")
    async with (
        serving(root, in_memory=frozenset({"layer-1"}), reload_seconds=0.01) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        stub = lookup_pb2_grpc.LookupServiceStub(channel)
        rows_of, failed = {old: OLD}, []
        switching = True

        async def look_up():
            while switching:
                for version, rows in list(rows_of.items()):
                    found = await stub.Lookup(LookupRequest(table="layer-1", version=version, rows=[7]))
                    failed.extend([version] if found.rows != rows[7].tobytes() else [])

        lookups = asyncio.create_task(look_up())
        held = []
        for rows in (NEW, OLD, NEW, OLD):
            version = await asyncio.to_thread(write_table, root, "layer-1", rows)
            current = await store.table("layer-1")
            while current.version != version:  # while it is loaded into memory, the one before is served
                await current.refresh()
            other = await store.table("layer-1", version=next(iter(set(rows_of) - {version}))) if held else None
            rows_of[version] = rows
            held.append((current.info.backend, other and other.info.backend))
        switching = False
        await lookups

    assert held == [("memory", None), *[("memory", "mmap")] * 3]
    assert failed == []


async def test_a_table_that_does_not_fit_into_memory_is_served_as_it_was_until_it_does(root):
    old = DataRoot.open(root).current_version("layer-1")
    write_table(root, "layer-1", NEW)
    full = False

    def open_unless_full(open_backend, name, version, **options):
        if full and options["in_memory"]:
            raise NotEnoughMemory(name, 1, "none left")
        return open_backend(name, version, **options)

    root_with_hook = HookedRoot(root, open_unless_full)
    async with (
        node_on(root_with_hook, in_memory=frozenset({"layer-1"})) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
    ):
        table = await store.table("layer-1", version=old)
        assert np.array_equal(await table.fetch([3]), OLD[[3]])
        full = True
        await asyncio.to_thread(write_table, root, "layer-1", OLD)

        current = await store.table("layer-1")
        assert (current.version, current.info.backend) == (old, "mmap")
        assert np.array_equal(await current.fetch([3]), OLD[[3]])
        full = False
        assert (await store.table("layer-1")).info.backend == "memory"


def drop(root, version):
    with root_writer(root) as writer:
        writer.drop("layer-1", version)


async def test_a_version_dropped_while_it_is_looked_up_is_not_found(root):
    old = DataRoot.open(root).current_version("layer-1")

    def drop_first(_):
        write_table(root, "layer-1", NEW)
        drop(root, old)
        assert opened[0].closed.wait(30)

    opened = []

    def cold(open_backend, name, version, **options):
        opened.append(ColdBackend(open_backend(name, version, **options), drop_first if not opened else lambda _: None))
        return opened[-1]

    async with (
        node_on(HookedRoot(root, cold), reload_seconds=0.01) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
    ):
        table = await store.table("layer-1")

        with pytest.raises(engram_client.VersionNotFound):
            await table.fetch([5])
        assert np.array_equal(await (await store.table("layer-1")).fetch([5]), NEW[[5]])


@pytest.mark.parametrize("version", ["", "named"])
async def test_a_version_replaced_while_it_is_looked_up_is_served(root, version):
    """In memory, it is replaced by the same one mapped when another becomes current."""
    old = DataRoot.open(root).current_version("layer-1")

    def switch_first(_):
        write_table(root, "layer-1", NEW)
        assert opened[0].closed.wait(30)

    opened = []

    def cold(open_backend, name, version, **options):
        opened.append(
            ColdBackend(open_backend(name, version, **options), switch_first if not opened else lambda _: None)
        )
        return opened[-1]

    async with (
        node_on(HookedRoot(root, cold), reload_seconds=0.01, in_memory=frozenset({"layer-1"})) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        stub = lookup_pb2_grpc.LookupServiceStub(channel)
        found = await stub.Lookup(LookupRequest(table="layer-1", version=version and old, rows=[5]))

        assert found.rows == (OLD if version else NEW)[5].tobytes()


def test_a_table_dropped_while_it_is_opened_is_gone_and_no_failure(root, capsys):
    def drop_first(*_, **__):
        with root_writer(root) as writer:
            writer.drop_table("layer-1")
        raise StorageFailure(root, "No such file or directory")

    catalog = Catalog(HookedRoot(root, drop_first), ServerConfig(root=root))
    catalog.reload()
    with pytest.raises(TableNotFound):
        catalog.open("layer-1", "")
    catalog.reload()

    assert catalog.tables == {}
    assert "cannot be opened" not in capsys.readouterr().out
    catalog.close()


def test_what_nobody_foresaw_of_the_storage_is_unavailable_and_in_the_log_alone(root, capsys):
    failed = failures.of_storage(StorageFailure(root, "Stale file handle"))

    assert (failed.code, failed.failure.reason) == (grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE")
    assert str(root) not in str(failed)
    assert "Stale file handle" in capsys.readouterr().out

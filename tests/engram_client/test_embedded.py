"""Files of this host, read in place: let go of when nobody needs them, looked at now and then, never a wrong row."""

import asyncio
import dataclasses
import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import attach_rows
from support.fake_transport import TABLE
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors
from engram_client.embedded import EmbeddedTransport
from engram_client.embedded.local_version import LocalVersion
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import BackendClosed, DataRoot, ResidentSet, root_writer

ROWS = random_rows(100, 33)
MANY = np.arange(40_000) % len(ROWS)  # three slices


class Clock:
    """Seconds, as a test wants them."""

    now = 1000.0

    def __call__(self):
        return self.now


class CountingBackend:
    """A backend that counts what it is asked; a test may make it wait, or fail, like one on a slow or broken disk."""

    def __init__(self, backend):
        self._backend = backend
        self.in_ram = True
        self.refreshed = 0
        self.gathering = threading.Event()
        self.may_gather = threading.Event()
        self.gathered = threading.Event()
        self.closed = threading.Event()
        self.errors = iter(())  # raised by one gather after another
        self.slices_from_ram = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def refresh_residency(self, deadline):
        self.refreshed += 1
        return self._backend.refresh_residency(deadline)

    def close(self):
        self.closed.set()
        self._backend.close()

    def gather_from_ram(self, rows, out):
        self.slices_from_ram += self.in_ram
        return self.in_ram and self._backend.gather_from_ram(rows, out)

    def gather(self, rows, out):
        self.gathering.set()
        self.may_gather.wait(60)
        for error in self.errors:
            raise error
        self._backend.gather(rows, out)
        self.gathered.set()


class CountingRoot(DataRoot):
    """A data root whose backends are CountingBackends; a test may do something in the middle of its calls."""

    def __init__(self, path):
        super().__init__(path)
        self.backends = []
        self.before_manifest = self.while_opening = lambda: None

    def manifest(self, *args):
        self.before_manifest()
        return super().manifest(*args)

    def open_backend(self, *args, **options):
        self.backends.append(CountingBackend(super().open_backend(*args, **options)))
        self.while_opening()
        return self.backends[-1]


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return CountingRoot(tmp_path / "root")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def store(root, clock):
    async with engram_client.Store(
        EmbeddedTransport(str(root.path), open_root=lambda _: root, clock=clock), 60
    ) as store:
        yield store


def versions_held(root):
    """The versions whose files this process has open or mapped."""
    opened = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.exists()]
    mapped = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
    return {path.split("/versions/")[1][:32] for path in opened + mapped if path.startswith(f"{root}/tables")}


async def until_held(root, versions):
    """Wait until these are held, and no others: a thread may still be about to let go of what it returned."""
    async with asyncio.timeout(60):
        while versions_held(root) != versions:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
async def test_files_are_let_go_of_when_no_handle_reads_their_version_any_more(backend, tmp_path):
    root = tmp_path / "root"
    first = write_table(root, "t", ROWS, backend=backend)
    async with engram_client.connect(f"file://{root}") as store:
        staying, moving = await store.table("t"), await store.table("t")
        for seed in range(1, 5):
            last = write_table(root, "t", random_rows(100, 33, seed), backend=backend)
            await moving.refresh()

        await until_held(root, {first, last})
        assert np.array_equal(await staying.fetch([5]), ROWS[[5]])
        del staying
        await until_held(root, {last})

    await until_held(root, set())


async def test_a_version_may_be_opened_again_after_it_was_let_go_of(store, root):
    table = await store.table("t")
    del table
    assert await asyncio.to_thread(root.backends[0].closed.wait, 60)

    assert np.array_equal(await (await store.table("t")).fetch([5]), ROWS[[5]])


async def test_a_checkpoint_that_changed_under_an_open_table_is_noticed_and_served_again_when_it_is_back(
    root, store, clock
):
    attach_rows(root.path, "attached", ROWS)
    file = root.path.parent / "attached.safetensors"
    table = await store.table("attached")
    assert np.array_equal(await table.fetch([5]), ROWS[[5]])
    time = file.stat().st_mtime_ns

    os.utime(file, ns=(1, 1))
    clock.now += 1
    for _ in range(2):
        with pytest.raises(errors.TableDamaged, match="attached.safetensors"):
            await table.fetch([5])
    os.utime(file, ns=(time, time))

    assert np.array_equal(await table.fetch([5]), ROWS[[5]])


async def test_a_checkpoint_that_came_back_as_another_one_is_refused(root, store, clock):
    attach_rows(root.path, "attached", ROWS)
    file = root.path.parent / "attached.safetensors"
    table = await store.table("attached")
    time = file.stat().st_mtime_ns
    os.utime(file, ns=(1, 1))
    clock.now += 1
    with pytest.raises(errors.TableDamaged):
        await table.fetch([5])

    content = file.read_bytes()
    file.write_bytes(content.replace(b"others", b"OTHERS"))  # as long as it was, and with the time it had
    os.utime(file, ns=(time, time))

    with pytest.raises(errors.TableDamaged):
        await table.fetch([5])


async def test_what_lies_in_ram_is_asked_again_while_fetches_go_on_at_most_once_a_second(store, root, clock):
    table = await store.table("t")
    at_open = root.backends[0].refreshed
    for _ in range(10):
        clock.now += 0.25
        await table.fetch([5])
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    assert root.backends[0].refreshed - at_open == 2


async def test_a_cancelled_fetch_from_disk_never_touches_the_callers_buffer(store, root):
    table = await store.table("t")
    backend = root.backends[0]
    backend.in_ram = False
    out = np.full((1, 33), 7, np.uint8)

    pending = table.prefetch([5], out=out)
    await asyncio.to_thread(backend.gathering.wait, 60)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    backend.may_gather.set()

    assert await asyncio.to_thread(backend.gathered.wait, 60)
    assert (out == 7).all()


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), TimeoutError(110, "timed out")])
async def test_what_the_operating_system_refuses_is_unavailable(store, root, error):
    table = await store.table("t")
    backend = root.backends[0]
    backend.in_ram, backend.errors = False, itertools.repeat(error)
    backend.may_gather.set()

    with pytest.raises(errors.Unavailable, match=error.strerror):
        await table.fetch([5], timeout=0.1)


async def test_what_failed_for_a_moment_is_tried_again(store, root):
    table = await store.table("t")
    backend = root.backends[0]
    backend.in_ram, backend.errors = False, iter([OSError(5, "failed")])
    backend.may_gather.set()

    assert np.array_equal(await table.fetch([5]), ROWS[[5]])


async def test_a_current_version_that_is_replaced_while_it_is_opened_gives_the_next_one(store, root):
    first, others = root.current_version("t"), random_rows(100, 33, seed=1)

    def replace():
        root.before_manifest = lambda: None
        write_table(root.path, "t", others)
        with root_writer(root.path) as writer:
            writer.drop("t", first)

    root.before_manifest = replace

    assert np.array_equal(await (await store.table("t")).fetch([5]), others[[5]])


async def test_a_large_fetch_from_ram_leaves_the_loop_to_others_and_its_buffer_once_it_is_cancelled(store, root):
    table = await store.table("t")
    out = np.full((len(MANY), 33), 7, np.uint8)

    pending = table.prefetch(MANY, out=out)
    await asyncio.sleep(0)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending

    assert root.backends[0].slices_from_ram == 1
    assert (out[-1] == 7).all()
    assert np.array_equal(await table.fetch(MANY), ROWS[MANY])


@pytest.mark.parametrize("num_rows", [1, 10_000])
async def test_small_fetches_from_ram_leave_the_loop_to_others_now_and_then(store, num_rows):
    table = await store.table("t")

    async def fetch_often():
        async with asyncio.timeout(0):
            for _ in range(200):
                await table.fetch(MANY[:num_rows])

    with pytest.raises(TimeoutError):
        await fetch_often()


async def test_a_time_limit_ends_a_large_fetch_from_ram(store, root):
    table = await store.table("t")

    with pytest.raises(errors.TimeLimitExceeded, match="40000 rows"):
        await table.fetch(MANY, timeout=1e-6)

    assert root.backends[0].slices_from_ram == 1


async def test_a_large_fetch_from_disk_comes_slice_by_slice(store, root):
    table = await store.table("t")
    root.backends[0].in_ram = False
    root.backends[0].may_gather.set()

    assert np.array_equal(await table.fetch(MANY), ROWS[MANY])


@pytest.mark.parametrize("in_ram", [False, True])
async def test_closing_ends_the_fetches_under_way_also_those_that_a_disk_never_answers(store, root, in_ram):
    table = await store.table("t")
    backend = root.backends[0]
    backend.in_ram = in_ram

    pending = [table.prefetch(MANY) for _ in range(20)]
    if in_ram:
        await asyncio.sleep(0)
    else:
        await asyncio.to_thread(backend.gathering.wait, 60)
    await store.close()
    ended = await asyncio.gather(*pending, return_exceptions=True)
    backend.may_gather.set()

    assert {type(error) for error in ended} == {errors.StoreClosed}


def test_a_version_that_is_closed_while_it_is_opened_leaves_no_file_open(root):
    manifest = root.manifest("t", root.current_version("t"))
    info = dataclasses.replace(TABLE, name="t", version=manifest.version)
    version = LocalVersion(root, info, manifest, ResidentSet())
    root.while_opening = version.close

    with pytest.raises(BackendClosed):
        version.look(0.0)

    assert root.backends[0].closed.is_set()


@pytest.mark.parametrize("way", ["grpc", "file"])
async def test_tables_that_cannot_be_read_are_not_offered(way, tmp_path):
    root = tmp_path / "root"
    for name in ("intact", "cut", "unnamed", "changed"):
        version = write_table(root, name, ROWS)
        directory = root / "tables" / name
        if name == "cut":
            os.truncate(directory / "versions" / version / "rows.bin", 10)
        elif name == "unnamed":
            (directory / "CURRENT").write_text("nonsense")
        elif name == "changed":
            (directory / "versions" / version / "table.json").write_text("{}")

    if way == "file":
        async with engram_client.connect(f"file://{root}") as store:
            offered = await store.tables()
    else:
        config = ServerConfig(root=root, listen="127.0.0.1:0")
        async with running(config) as node, engram_client.connect(f"grpc://{node.address}") as store:
            offered = await store.tables()

    assert [info.name for info in offered] == ["intact"]


async def test_a_data_root_that_is_gone_does_not_look_like_one_without_tables(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    async with engram_client.connect(f"file://{tmp_path}/root") as store:
        assert len(await store.tables()) == 1
        (tmp_path / "root").rename(tmp_path / "away")

        with pytest.raises(errors.Unavailable, match="no data root"):
            await store.tables(timeout=0.1)

"""Every way to the rows and every way of holding them gives the rows that plain NumPy gives."""

import contextlib

import numpy as np
import pytest
import pytest_asyncio
import torch
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client.hashing import HashSpec, NgramHasher
from store_server.config import ServerConfig
from store_server.node import running

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUM_ROWS = 20_011
WAYS = ("grpc", "unix", "file")
HOLDINGS = ("mmap", "lmdb", "memory")


@contextlib.asynccontextmanager
async def opened(way, root, directory, *, in_memory=()):
    """A store over the tables of `root`, reached in one of the WAYS."""
    if way == "file":
        async with engram_client.connect(f"file://{root}", timeout=60) as store:
            yield store
        return
    listen = "127.0.0.1:0" if way == "grpc" else f"unix://{directory}/node.sock"
    async with running(ServerConfig(root=root, listen=listen, in_memory=frozenset(in_memory))) as node:
        url = node.address if way == "unix" else f"grpc://{node.address}"
        async with engram_client.connect(url, timeout=60) as store:
            yield store


@pytest.fixture(scope="module")
def rows():
    return random_rows(NUM_ROWS, 264)


@pytest.fixture(scope="module")
def root(rows, tmp_path_factory):
    root = tmp_path_factory.mktemp("fetch") / "root"
    for backend in ("mmap", "lmdb"):
        write_table(root, f"held/{backend}", rows, backend=backend, row_format="float8_e4m3+e8m0/32", fingerprint="fp")
    write_table(root, "held/memory", rows, fingerprint="fp")
    return root


@pytest_asyncio.fixture(params=WAYS, scope="module", loop_scope="module")
async def store(request, root, tmp_path_factory):
    async with opened(request.param, root, tmp_path_factory.mktemp("node"), in_memory=("held/memory",)) as store:
        yield store


@pytest_asyncio.fixture(params=HOLDINGS, loop_scope="module")
async def table(request, store):
    return await store.table(f"held/{request.param}")


async def test_rows_come_back_in_the_order_asked_for_with_repeats(table, rows):
    ids = np.array([7, 3, 7, NUM_ROWS - 1, 0, 0, 3])

    assert np.array_equal(await table.fetch(ids), rows[ids])


@pytest.mark.parametrize("shape", [(), (0,), (1,), (5, 0, 2), (2, 3, 4), (4096,), (3, 17_000)])
async def test_the_result_has_the_shape_of_the_ids_and_the_width_of_a_row(table, rows, shape):
    ids = np.random.default_rng(1).integers(0, NUM_ROWS, shape)

    fetched = await table.fetch(ids)

    assert fetched.shape == (*shape, 264)
    assert fetched.dtype == np.uint8
    assert np.array_equal(fetched, rows[ids])


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4", ">u8"]
)
async def test_ids_may_be_integers_of_any_type(table, rows, dtype):
    ids = np.array([1, 100, 0, 127]).astype(dtype)

    assert np.array_equal(await table.fetch(ids), rows[[1, 100, 0, 127]])


async def test_ids_may_be_lists_strided_arrays_and_torch_tensors(table, rows):
    strided = np.arange(1000)[::-7]

    assert np.array_equal(await table.fetch([[1, 2], [3, 4]]), rows[[[1, 2], [3, 4]]])
    assert np.array_equal(await table.fetch([]), rows[:0])
    assert np.array_equal(await table.fetch(strided), rows[strided])
    assert np.array_equal(await table.fetch(torch.tensor([[5], [6]])), rows[[[5], [6]]])


async def test_a_result_becomes_a_torch_tensor_without_a_copy(table, rows):
    fetched = await table.fetch([4, 5])

    tensor = torch.from_numpy(fetched)

    assert tensor.data_ptr() == fetched.ctypes.data
    assert np.array_equal(tensor.numpy(), rows[[4, 5]])


async def test_rows_land_in_the_callers_buffer(table, rows):
    ids = np.random.default_rng(2).integers(0, NUM_ROWS, (3, 5000))
    out = np.zeros((3, 5000, 264), np.uint8)

    fetched = await table.fetch(ids, out=out)

    assert fetched is out
    assert np.array_equal(out, rows[ids])


async def test_prefetches_may_be_awaited_in_any_order(table, rows):
    batches = [np.random.default_rng(seed).integers(0, NUM_ROWS, 500) for seed in range(20)]

    pending = [table.prefetch(ids) for ids in batches]

    for ids, rows_on_their_way in reversed(list(zip(batches, pending, strict=True))):
        assert np.array_equal(await rows_on_their_way, rows[ids])
        assert rows_on_their_way.done()


async def test_ids_may_be_changed_as_soon_as_the_prefetch_is_issued(table, rows):
    ids = np.arange(6000)
    pending = table.prefetch(ids)

    ids[:] = 0

    assert np.array_equal(await pending, rows[:6000])


async def test_a_table_tells_what_it_is(store, root):
    table = await store.table("held/lmdb")

    assert (table.name, table.num_rows, table.row_bytes) == ("held/lmdb", NUM_ROWS, 264)
    assert (table.row_format, table.fingerprint) == ("float8_e4m3+e8m0/32", "fp")
    assert len(table.version) == 32
    assert [described.name for described in await store.tables()] == ["held/lmdb", "held/memory", "held/mmap"]


async def test_a_named_version_and_a_matching_fingerprint_open_the_table(store, rows):
    current = await store.table("held/mmap")

    table = await store.table("held/mmap", version=current.version, fingerprint="fp")

    assert np.array_equal(await table.fetch([9]), rows[[9]])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row_bytes", [1, 2, 7, 8, 63, 264, 4096, 1 << 20])
async def test_rows_of_any_width_arrive_whole(way, row_bytes, tmp_path):
    rows = random_rows(max(3, min(5000, (6 << 20) // row_bytes)), row_bytes)
    for backend in ("mmap", "lmdb"):
        write_table(tmp_path / "root", backend, rows, backend=backend)
    write_table(tmp_path / "root", "memory", rows)
    ids = np.random.default_rng(3).integers(0, len(rows), min(6000, (16 << 20) // row_bytes))
    ids[:2] = 0, len(rows) - 1

    async with opened(way, tmp_path / "root", tmp_path, in_memory=("memory",)) as store:
        for name in HOLDINGS:
            assert np.array_equal(await (await store.table(name)).fetch(ids), rows[ids])


async def test_a_million_random_ids_give_the_rows_that_numpy_gives(table, rows):
    ids = np.random.default_rng(4).integers(0, NUM_ROWS, 1_000_000)

    fetched = await table.fetch(ids)

    for start in range(0, len(ids), 100_000):
        assert np.array_equal(fetched[start : start + 100_000], rows[ids[start : start + 100_000]])


async def test_ids_that_come_from_text_give_the_rows_that_numpy_gives(table, rows):
    spec = HashSpec(layer_ids=(1,), max_ngram=3, heads=8, vocab_sizes=(1100, 1100), pad_id=2, seed=0)
    hasher = NgramHasher(spec, np.arange(256))
    assert hasher.num_rows[1] <= NUM_ROWS
    with open(__file__, "rb") as file:
        text = np.frombuffer(file.read()[:6250], np.uint8).astype(np.int64)
    ids = np.resize(hasher.rows(text[None, :], 1), (100_000,))
    assert len(np.unique(ids)) > 1000

    assert np.array_equal(await table.fetch(ids), rows[ids])

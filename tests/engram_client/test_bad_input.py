"""Wrong arguments get an error that says what is wrong, before anything is sent, and leave everything as it was."""

import asyncio
import gc

import numpy as np
import pytest
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors
from store_server.config import ServerConfig
from store_server.node import running

NUM_ROWS = 100


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "layer-1", random_rows(NUM_ROWS, 16), fingerprint="engram-v1:abc")
    write_table(tmp_path / "root", "unmarked", random_rows(NUM_ROWS, 16))
    return tmp_path / "root"


@pytest.fixture(params=["grpc", "file"])
async def store(request, root):
    if request.param == "file":
        async with engram_client.connect(f"file://{root}") as store:
            yield store
        return
    config = ServerConfig(root=root, listen="127.0.0.1:0")
    async with running(config) as node, engram_client.connect(f"grpc://{node.address}") as store:
        yield store


@pytest.fixture
async def table(store):
    return await store.table("layer-1")


@pytest.mark.parametrize(
    ("ids", "row"),
    [
        ([-1], "-1"),
        ([0, NUM_ROWS], "100"),
        ([[5], [-(2**63)]], "-9223372036854775808"),
        (np.array([2**63 + 5], np.uint64), "9223372036854775813"),
        (np.array([2**64 - 1], np.uint64), "18446744073709551615"),
    ],
)
async def test_a_row_outside_the_table_is_refused_with_its_number_and_the_limit(table, ids, row):
    with pytest.raises(errors.RowOutOfRange, match="100 rows") as caught:
        await table.fetch(ids)

    assert row in str(caught.value)
    assert isinstance(caught.value, IndexError)


@pytest.mark.parametrize(
    "ids",
    [1.5, [1.0, 2.0], np.zeros(0, np.float32), np.array([1, 2], object), [2**64], ["7"], [True], None, [[1], [2, 3]]],
)
async def test_ids_that_are_no_integers_are_refused(table, ids):
    with pytest.raises(errors.InvalidIds, match="integers"):
        await table.fetch(ids)
    with pytest.raises(TypeError):
        table.prefetch(ids)


READ_ONLY = np.zeros((2, 16), np.uint8)
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, 15), np.uint8),
        np.zeros((3, 16), np.uint8),
        np.zeros(32, np.uint8),
        np.zeros((2, 16), np.int8),
        np.zeros((2, 4), np.uint32),
        np.zeros((2, 32), np.uint8)[:, ::2],
        READ_ONLY,
        bytearray(32),
        [[0] * 16] * 2,
    ],
)
async def test_a_buffer_that_does_not_fit_is_refused_and_left_alone(table, out):
    before = np.array(out, copy=True)

    with pytest.raises(errors.InvalidBuffer, match="out must be"):
        await table.fetch([1, 2], out=out)

    assert np.array_equal(before, out)
    assert issubclass(errors.InvalidBuffer, ValueError)


async def test_an_unknown_table_and_an_unknown_version_are_told_apart(store):
    with pytest.raises(errors.TableNotFound, match=r"no table 'layer-2' .*; did you mean 'layer-1'\?$"):
        await store.table("layer-2")

    current = (await store.table("layer-1")).version
    with pytest.raises(errors.VersionNotFound, match=current):
        await store.table("layer-1", version="0123456789abcdef")


@pytest.mark.parametrize(
    "name", ["", "..", "../layer-1", "/etc", "a\0b", "layer 1", "x" * 300, "a//b", "ä", "\ud800", 5, None]
)
async def test_a_name_that_no_table_can_have_is_refused(store, name):
    with pytest.raises(errors.InvalidTableName):
        await store.table(name)


async def test_a_version_that_is_no_text_is_refused(store):
    with pytest.raises(errors.InvalidTableName, match="5"):
        await store.table("layer-1", version=5)


async def test_another_fingerprint_is_refused_and_both_sides_are_named(store):
    with pytest.raises(errors.FingerprintMismatch, match="engram-v1:abc.*engram-v1:xyz"):
        await store.table("layer-1", fingerprint="engram-v1:xyz")

    with pytest.raises(errors.FingerprintMismatch, match="carries none.*engram-v1:xyz"):
        await store.table("unmarked", fingerprint="engram-v1:xyz")


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
async def test_a_time_limit_that_is_none_is_refused(table, timeout):
    with pytest.raises(ValueError, match="above 0 seconds"):
        await table.fetch([1], timeout=timeout)


async def test_a_prefetch_without_an_event_loop_is_told_what_it_needs(table):
    def without_a_loop():
        with pytest.raises(errors.WrongLoop, match="running event loop.*connect_blocking"):
            table.prefetch([1])

    await asyncio.to_thread(without_a_loop)
    gc.collect()  # a coroutine that was made and never awaited would complain here


async def test_after_every_refusal_the_table_still_works(table):
    for bad in ([-1], [1.5], [NUM_ROWS]):
        with pytest.raises(errors.EngramError):
            await table.fetch(bad)

    assert (await table.fetch([1])).shape == (1, 16)


async def test_without_a_url_the_environment_names_the_store(root, monkeypatch):
    monkeypatch.delenv("ENGRAM_URL", raising=False)
    with pytest.raises(errors.InvalidUrl, match="ENGRAM_URL"):
        engram_client.connect()

    monkeypatch.setenv("ENGRAM_URL", f"file://{root}")
    async with engram_client.connect() as store:
        assert [table.name for table in await store.tables()] == ["layer-1", "unmarked"]


async def test_a_data_root_that_is_not_there_is_unavailable_and_not_waited_for(tmp_path):
    async with engram_client.connect(f"file://{tmp_path}/nowhere", timeout=3600) as store:
        with pytest.raises(errors.Unavailable, match="nowhere"):
            await store.tables()


async def test_a_closed_store_says_so(store):
    table = await store.table("layer-1")
    await store.close()

    with pytest.raises(errors.StoreClosed):
        await table.fetch([1])
    with pytest.raises(errors.StoreClosed):
        await store.tables()

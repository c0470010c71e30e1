"""A cluster of real nodes: found by any of them, read as one, and none of them needed."""

import asyncio
import signal

import numpy as np
import pytest
from support.real_cluster import real_cluster
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors
from store_server.config import ServerConfig
from store_server.node import running

ROWS = {"m/layer-1": random_rows(30_000, 264, seed=1), "m/layer-2": random_rows(9_000, 264, seed=2)}
SECONDS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with real_cluster(tmp_path_factory.mktemp("cluster"), 3, ROWS) as cluster:
        yield cluster


def random_ids(table, size, seed=0):
    return np.random.default_rng(seed).integers(0, table.num_rows, size)


async def fetch_and_check(table, size, seed=0):
    ids = random_ids(table, size, seed)
    assert np.array_equal(await table.fetch(ids), ROWS[table.name][ids])


async def test_any_node_leads_to_the_whole_cluster(cluster):
    for port in cluster.ports:
        async with engram_client.connect(f"grpc://127.0.0.1:{port}", timeout=SECONDS) as store:
            assert [info.name for info in await store.tables()] == sorted(ROWS)
            for name in ROWS:
                table = await store.table(name)
                assert table.info.backend == "cluster"
                await fetch_and_check(table, (300, 10))


async def test_rows_come_into_the_callers_memory_in_any_number(cluster):
    async with engram_client.connect(cluster.url, timeout=SECONDS) as store:
        table = await store.table("m/layer-1")
        for size in (0, 1, 7, 4096, 100_000):
            ids = random_ids(table, size, seed=size)
            out = np.empty((size, 264), np.uint8)
            assert await table.fetch(ids, out=out) is out
            assert np.array_equal(out, ROWS["m/layer-1"][ids])


async def test_a_cache_before_a_cluster_changes_no_row(cluster):
    async with engram_client.connect(cluster.url, timeout=SECONDS, cache_bytes=4 << 20) as store:
        table = await store.table("m/layer-2")
        for seed in range(5):
            await fetch_and_check(table, 4096, seed)


def test_a_cluster_is_read_without_await_too(cluster):
    with engram_client.connect_blocking(cluster.url, timeout=SECONDS) as store:
        table = store.table("m/layer-1")
        ids = random_ids(table, 4096)
        assert np.array_equal(table.fetch(ids), ROWS["m/layer-1"][ids])


async def test_the_tables_of_a_set_are_opened_together(cluster):
    async with engram_client.connect(cluster.url, timeout=SECONDS) as store:
        layers = await store.table_set("model", {"m/layer-1": ""})

        assert dict(layers.versions) == dict(cluster.shard_map.sets["model"].current)
        for table in layers.values():
            await fetch_and_check(table, 100)
        await layers.refresh()

        with pytest.raises(errors.TableSetNotFound, match="no set 'another'; the store has 'model'"):
            await store.table_set("another")
        with pytest.raises(errors.TableNotFound, match="set 'model' has no table 'm/layer-9'"):
            await store.table_set("model", {"m/layer-9": "f"})
        with pytest.raises(errors.FingerprintMismatch):
            await store.table_set("model", {"m/layer-2": "of another hashing"})


def test_the_tables_of_a_set_are_opened_without_await_too(cluster):
    with engram_client.connect_blocking(cluster.url, timeout=SECONDS) as store:
        layers = store.table_set("model")
        layers.refresh()

        assert list(layers) == sorted(ROWS)
        assert len(layers) == 2
        assert np.array_equal(layers["m/layer-2"].fetch([3, 1]), ROWS["m/layer-2"][[3, 1]])


async def test_what_the_cluster_does_not_have_is_refused(cluster):
    async with engram_client.connect(cluster.url, timeout=SECONDS) as store:
        with pytest.raises(errors.TableNotFound, match="m/layer-9"):
            await store.table("m/layer-9")
        with pytest.raises(errors.VersionNotFound):
            await store.table("m/layer-1", version="0" * 32)


async def test_addresses_at_which_there_is_no_cluster_are_named(tmp_path):
    write_table(tmp_path / "root", "t", random_rows(10, 8))
    async with running(ServerConfig(root=tmp_path / "root", listen="127.0.0.1:0")) as node:
        store = engram_client.connect(f"grpc://{node.address},127.0.0.1:1", timeout=0.5)
        async with store:
            with pytest.raises(errors.Unavailable) as caught:
                await store.tables()

    assert f"looking for the cluster of {node.address}, 127.0.0.1:1: gave up after 0.5 s" in str(caught.value)
    assert f"{node.address} is in no cluster: give its address alone" in str(caught.value)


async def test_a_node_that_is_killed_and_one_that_is_stopped_cost_no_fetch(cluster):
    async with engram_client.connect(cluster.url, timeout=SECONDS) as store:
        table = await store.table("m/layer-1")
        for seed in range(10):
            await fetch_and_check(table, 1000, seed)

        cluster.kill(0)
        for seed in range(20):
            await fetch_and_check(table, 1000, seed)
        cluster.start(0)

        cluster.signal(1, signal.SIGSTOP)
        try:
            await asyncio.gather(*(fetch_and_check(table, 1000, seed) for seed in range(20)))
        finally:
            cluster.signal(1, signal.SIGCONT)

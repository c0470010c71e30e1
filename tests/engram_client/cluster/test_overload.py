"""More load than the nodes can bear: what the client asks besides stays bounded, and no fetch fails that need not."""

import asyncio

import numpy as np
from support.fake_cluster import PAIRS, TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.hedging import HedgeSettings

SERVICE_SECONDS = 0.02


def one_after_the_other(service_seconds):
    """Return how long a node takes that serves one request at a time, also those that nobody waits for any more."""
    free_from = 0.0

    def seconds():
        nonlocal free_from
        now = asyncio.get_running_loop().time()
        free_from = max(now, free_from) + service_seconds
        return free_from - now

    return seconds


async def load(cluster, table, fetches_a_second, seconds, failures):
    ids = np.random.default_rng(0)

    async def fetch():
        try:
            await cluster.fetch_of(table, ids.integers(0, 400, 1), timeout=30.0)
        except Exception as error:  # whatever it is, it is told
            failures.append(error)

    async with asyncio.TaskGroup() as fetches:
        for _ in range(round(fetches_a_second * seconds)):
            fetches.create_task(fetch())
            await asyncio.sleep(1 / fetches_a_second)


def test_while_all_nodes_are_overloaded_little_more_is_asked_than_is_wanted_and_nothing_fails():
    async def overload():
        cluster = FakeCluster(shard_map_of(4, sharded(PAIRS)))
        for node in cluster.nodes:
            node.seconds = one_after_the_other(SERVICE_SECONDS)
        table = await cluster.client.get_table(TABLE, "", 1.0)
        failures = []
        capacity = len(cluster.nodes) / SERVICE_SECONDS
        await load(cluster, table, 0.4 * capacity, 5.0, failures)
        before = sum(len(node.lookups) for node in cluster.nodes)
        await load(cluster, table, 2 * capacity, 5.0, failures)
        wanted, asked = 2 * capacity * 5.0, sum(len(node.lookups) for node in cluster.nodes) - before

        assert not failures
        assert asked <= 1.1 * wanted

    run_virtually(overload())


def test_all_that_was_under_way_at_a_node_when_it_fell_silent_is_asked_for_elsewhere():
    async def hang_amid_many_fetches():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])), settings=HedgeSettings(budget=0.0))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(60):
            await cluster.fetch_of(table, np.arange(10))
        cluster.nodes[0].hangs = True
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(cluster.fetch_of(table, np.arange(10), timeout=30.0) for _ in range(200)))

        assert asyncio.get_running_loop().time() < began + 0.3

    run_virtually(hang_amid_many_fetches())


def test_where_nothing_more_may_be_given_up_half_of_the_time_is_left_for_another_node():
    async def hang_when_nothing_is_saved():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])), settings=HedgeSettings(budget=0.0))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        while cluster.client.patience.take():
            pass
        cluster.nodes[0].hangs = True
        cluster.client.nodes[1].work_under_way += 1000  # so that node 0 is asked first
        await cluster.fetch_of(table, np.arange(10), timeout=10.0)

        assert 5.0 <= asyncio.get_running_loop().time() < 8.0

    run_virtually(hang_when_nothing_is_saved())

"""An idle client spreads its fetches over equal replicas, and spares one that is clearly slower than the others."""

import asyncio
import random

import numpy as np
import pytest
from support.fake_cluster import PAIRS, TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually


async def lookups_of_an_idle_client(cluster, num_fetches, num_rows):
    """Fetch once a second, long enough apart that nothing is under way."""
    table = await cluster.client.get_table(TABLE, "", 1.0)
    ids = np.random.default_rng(0)
    for _ in range(num_fetches):
        await cluster.fetch_of(table, ids.integers(0, 400, num_rows))
        await asyncio.sleep(1.0)
    return [len(node.lookups) for node in cluster.nodes]


@pytest.mark.parametrize("seed", range(5))
def test_an_idle_client_asks_all_of_equal_nodes_from_its_first_fetches_on(seed):
    async def fetch_now_and_then():
        cluster = FakeCluster(shard_map_of(4, sharded(PAIRS)), seed=seed)
        for number, node in enumerate(cluster.nodes):
            dice = random.Random(f"{seed}/{number}")
            node.seconds = lambda dice=dice: 0.0004 * dice.lognormvariate(0.0, 0.2)
        lookups = await lookups_of_an_idle_client(cluster, 40, 10)

        assert min(lookups) >= sum(lookups) / 10, lookups

    run_virtually(fetch_now_and_then())


def test_a_fetch_still_goes_to_as_few_nodes_as_have_its_rows():
    async def fetch_now_and_then():
        cluster = FakeCluster(shard_map_of(4, sharded(PAIRS)))

        assert sum(await lookups_of_an_idle_client(cluster, 40, 20)) <= 1.3 * 2 * 40

    run_virtually(fetch_now_and_then())


def test_a_node_that_is_clearly_slower_is_spared_though_it_is_no_outlier():
    async def fetch_at_a_steady_pace():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        cluster.nodes[1].seconds = lambda: 0.004
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(400):
            await cluster.fetch_of(table, np.arange(10))
            await asyncio.sleep(0.1)

        assert cluster.client.nodes[1].health.ready
        assert 1 <= len(cluster.nodes[1].lookups) <= 40

    run_virtually(fetch_at_a_steady_pace())

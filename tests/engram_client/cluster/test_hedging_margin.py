"""One of two replicas holds back one reply of twenty for 50 ms: hedges within their budget take most of that away."""

import asyncio
import random

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.hedging import HedgeSettings

NUM_BURSTS, BURST, WARM_UP_BURSTS, SECONDS_BETWEEN = 250, 4, 60, 0.07


def speed_of(seed, number):
    """Return how long a node takes: unevenly as on a busy machine, so that not only what is held back is late."""
    dice = random.Random(f"{seed}/{number}")
    return lambda: 0.002 * dice.lognormvariate(0.0, 0.6) + 0.05 * (number == 1 and dice.random() < 0.05)


def p99_of(budget, seed):
    async def fetch_in_bursts():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])), settings=HedgeSettings(budget=budget), seed=seed)
        for number, node in enumerate(cluster.nodes):
            node.seconds = speed_of(seed, number)
        table = await cluster.client.get_table(TABLE, "", 1.0)
        now, seconds = asyncio.get_running_loop().time, []

        async def fetch():
            began = now()
            await cluster.fetch_of(table, np.arange(50))
            seconds.append(now() - began)

        async with asyncio.TaskGroup() as fetches:
            for _ in range(NUM_BURSTS):
                for _ in range(BURST):
                    fetches.create_task(fetch())
                await asyncio.sleep(SECONDS_BETWEEN)
        hedges = cluster.client.hedges
        assert hedges.hedges <= 0.05 * hedges.requests
        return np.quantile(seconds[WARM_UP_BURSTS * BURST :], 0.99)

    return run_virtually(fetch_in_bursts())


@pytest.mark.parametrize("seed", range(4))
def test_p99_with_hedges_is_a_third_at_most_of_that_without(seed):
    assert p99_of(0.05, seed) <= p99_of(0.0, seed) / 3

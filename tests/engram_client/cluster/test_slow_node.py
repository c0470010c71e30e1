"""200 ms added to one node, for long: few fetches feel it at first, then none, and it is tried ever more rarely."""

import asyncio
import random

import numpy as np
import pytest
from support.fake_cluster import PAIRS, TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

ADDED_SECONDS = 0.2
WITHIN_SECONDS = 2.0


def speed_of(seed, number, added=0.0):
    dice = random.Random(f"{seed}/{number}")
    return lambda: 0.001 * dice.lognormvariate(0.0, 0.3) + added


async def load(cluster, table, fetches_a_second, seconds, ids):
    """Return when each fetch was due and how long it took, (n, 2)."""
    now, fetches = asyncio.get_running_loop().time, []

    async def fetch():
        began = now()
        await cluster.fetch_of(table, ids.integers(0, 400, 40))
        fetches.append((began, now() - began))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(round(fetches_a_second * seconds)):
            tasks.create_task(fetch())
            await asyncio.sleep(1 / fetches_a_second)
    return np.array(fetches)


@pytest.mark.parametrize("seed", range(2))
def test_fetches_are_slow_for_two_seconds_at_most_however_long_the_node_is(seed):
    async def slow_a_node_down():
        cluster = FakeCluster(shard_map_of(4, sharded(PAIRS)), seed=seed)
        for number, node in enumerate(cluster.nodes):
            node.seconds = speed_of(seed, number)
        table = await cluster.client.get_table(TABLE, "", 1.0)
        ids = np.random.default_rng(seed)
        calm = await load(cluster, table, 40, 5, ids)
        began, victim = asyncio.get_running_loop().time(), cluster.nodes[1]
        victim.seconds = speed_of(seed, 1, ADDED_SECONDS)
        before = len(victim.lookups)
        after = await load(cluster, table, 40, 15, ids)

        slow = after[after[:, 1] > 10 * np.median(calm[:, 1])]
        assert all(slow.sum(axis=1) < began + WITHIN_SECONDS)
        assert len(slow) <= 5
        assert len(victim.lookups) - before <= 30  # trials, with pauses of up to 30 s

    run_virtually(slow_a_node_down())


def test_a_node_that_is_slow_now_and_then_only_is_let_in_ever_more_rarely():
    async def slow_a_node_down_every_second():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)] * 4)))
        now = asyncio.get_running_loop().time
        quick = speed_of(0, 1)
        cluster.nodes[1].seconds = lambda: quick() + ADDED_SECONDS * (now() % 2.0 > 1.0)
        table = await cluster.client.get_table(TABLE, "", 1.0)
        fetches = await load(cluster, table, 25, 60, np.random.default_rng(0))

        slow = fetches[fetches[:, 1] > 0.05]
        assert (slow[:, 0] > 30.0).sum() <= 3, len(slow)

    run_virtually(slow_a_node_down_every_second())

"""A node that was left out is tried until it is well, whatever happens in between, and then asked who it is."""

import asyncio
from dataclasses import dataclass

import numpy as np
from support.fake_cluster import TABLE, FakeCluster, FakeClusterNode, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.errors import Unavailable

ROWS = np.arange(100)


@dataclass
class NodeOfWorkers(FakeClusterNode):
    """Has told who its processes are once it has been listed."""

    has_told: bool = False

    async def list_tables(self, timeout):
        tables = await super().list_tables(timeout)
        self.has_told = True
        return tables


def test_an_error_that_nobody_thought_of_does_not_end_the_trials():
    async def fail_oddly_on_trial():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        cluster.nodes[1].fails_with = [Unavailable("it goes down"), MemoryError("no room for the rows of a trial")]
        while cluster.client.nodes[1].health.ready:
            await cluster.fetch_of(table, ROWS)

        await asyncio.sleep(5)

        assert not cluster.nodes[1].fails_with
        assert cluster.client.nodes[1].health.ready
        await cluster.client.close()

    run_virtually(fail_oddly_on_trial())


def test_a_node_that_was_away_at_first_is_asked_for_its_workers_when_it_returns():
    async def greet_again():
        shard_map = shard_map_of(2, sharded([(0, 1)]))
        nodes = [NodeOfWorkers(number, shard_map) for number in range(2)]
        nodes[1].is_up = False
        client = ClusterTransport(shard_map, lambda address: nodes[int(address.removeprefix("node-"))])
        table = await client.get_table(TABLE, "", 1.0)
        client.nodes.leave_out(client.nodes[1])
        client.nodes[1].last_asked = (table, ROWS)  # so that trials are fetches
        nodes[1].is_up = True

        await asyncio.sleep(5)

        assert client.nodes[1].health.ready
        assert nodes[1].has_told
        await client.close()

    run_virtually(greet_again())


def test_a_node_that_cannot_decide_whether_it_stops_is_looked_for_once_at_a_time():
    async def waver():
        cluster = FakeCluster(shard_map_of(1, sharded([(0,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        before = len(asyncio.all_tasks())
        for number in range(100):
            cluster.nodes[0].draining = number % 2 == 0
            await cluster.fetch_of(table, ROWS)

        assert len(asyncio.all_tasks()) <= before + 1
        await cluster.client.close()

    run_virtually(waver())

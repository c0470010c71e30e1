"""A cluster whose nodes do not let a client in: one of them is another's turn, all of them is an error at once."""

import asyncio

import numpy as np
import pytest
from support.fake_cluster import PAIRS, TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.errors import InsecureUrl, PermissionDenied, Unauthenticated

SECONDS = 60.0


@pytest.mark.parametrize("error", [Unauthenticated("who?"), PermissionDenied("no"), InsecureUrl("plain")])
def test_a_client_that_no_node_lets_in_is_told_at_once(error):
    async def be_refused():
        cluster = FakeCluster(shard_map_of(4, sharded(PAIRS)))
        table = await cluster.client.get_table(TABLE, "", SECONDS)
        for node in cluster.nodes:
            node.refuses_with = error
        with pytest.raises(type(error)):
            await cluster.client.get_table(TABLE, "", SECONDS)
        with pytest.raises(type(error)):
            await cluster.fetch_of(table, np.arange(10), timeout=SECONDS)

        assert asyncio.get_running_loop().time() < 1.0

    run_virtually(be_refused())


def test_rows_come_from_a_node_that_lets_the_client_in():
    async def be_refused_by_one():
        cluster = FakeCluster(shard_map_of(4, sharded(PAIRS)))
        cluster.nodes[0].refuses_with = Unauthenticated("who?")

        for _ in range(20):
            await cluster.fetch(np.arange(400))

        assert len(cluster.nodes[0].lookups) <= 2

    run_virtually(be_refused_by_one())


def test_a_node_that_knows_the_client_again_is_asked_again():
    async def be_let_in_again():
        cluster = FakeCluster(shard_map_of(4, sharded(PAIRS)))
        cluster.nodes[0].refuses_with = Unauthenticated("who?")
        await cluster.fetch(np.arange(400))
        cluster.nodes[0].refuses_with = None
        await asyncio.sleep(5.0)
        before = len(cluster.nodes[0].lookups)

        for _ in range(20):
            await cluster.fetch(np.arange(400))

        assert len(cluster.nodes[0].lookups) > before

    run_virtually(be_let_in_again())

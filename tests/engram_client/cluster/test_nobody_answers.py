"""What is known of tables and versions is told only once some node has confirmed it."""

import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.errors import TimeLimitExceeded, Unavailable

SHARD_MAP = shard_map_of(3, sharded([(0, 1, 2)]))
ASKING = {
    "a table": lambda client, timeout: client.get_table(TABLE, "", timeout),
    "all tables": lambda client, timeout: client.list_tables(timeout),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_nodes_that_are_all_down_are_unavailable(ask):
    async def ask_the_dead():
        cluster = FakeCluster(SHARD_MAP)
        for node in cluster.nodes:
            node.is_up = False

        with pytest.raises(Unavailable, match="gave up after 2 s.*none of 3 nodes answers"):
            await ask(cluster.client, 2.0)
        await cluster.client.close()

    run_virtually(ask_the_dead())


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_nodes_that_all_hang_cost_no_more_than_the_time_limit(ask):
    async def ask_the_silent():
        cluster = FakeCluster(SHARD_MAP)
        for node in cluster.nodes:
            node.hangs = True

        with pytest.raises(TimeLimitExceeded, match="no answer within 2 s"):
            await ask(cluster.client, 2.0)
        await cluster.client.close()

    run_virtually(ask_the_silent())


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_one_node_that_answers_is_enough_however_long_others_take(ask):
    async def ask_the_one():
        cluster = FakeCluster(SHARD_MAP)
        for node in cluster.nodes[1:]:
            node.hangs = True

        assert await ask(cluster.client, 2.5)
        await cluster.client.close()

    run_virtually(ask_the_one())

"""What is known of tables and versions is told only once some node has confirmed it."""

import asyncio

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
@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        pytest.param({"is_up": False}, Unavailable, "gave up after 2 s.*none of 3 nodes answers", id="down"),
        pytest.param({"hangs": True}, TimeLimitExceeded, "no answer within 2 s", id="hang"),
    ],
)
def test_nodes_that_are_all_in_trouble_cost_the_time_limit_and_the_error_says_how(ask, trouble, error, message):
    async def ask_them():
        cluster = FakeCluster(SHARD_MAP)
        for node in cluster.nodes:
            for name, value in trouble.items():
                setattr(node, name, value)

        with pytest.raises(error, match=message):
            await ask(cluster.client, 2.0)
        assert asyncio.get_running_loop().time() <= 2.0 + 1e-6
        await cluster.client.close()

    run_virtually(ask_them())


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_one_node_that_answers_is_enough_however_long_others_take(ask):
    async def ask_the_one():
        cluster = FakeCluster(SHARD_MAP)
        for node in cluster.nodes[1:]:
            node.hangs = True

        assert await ask(cluster.client, 2.5)
        await cluster.client.close()

    run_virtually(ask_the_one())

"""A store of a cluster that is closed while it is used says so, and never that all is well."""

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, FakeClusterNode, shard_map_of, sharded
from support.virtual_clock import VirtualClockLoop, run_virtually, seconds_of

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.errors import StoreClosed, Unavailable, WrongLoop

ROWS = np.arange(200)


def close_during_a_fetch(seconds, *, holders_then):
    """Close the store so long after a fetch began that finds rows at other nodes than the map says."""

    async def work():
        cluster = FakeCluster(shard_map_of(2, sharded([(0,), (1,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        cluster.spread(shard_map_of(2, sharded(holders_then), epoch=2))
        fetching = asyncio.create_task(cluster.fetch_of(table, ROWS))
        await asyncio.sleep(seconds)
        await cluster.client.close()
        await fetching

    run_virtually(work())


@pytest.mark.parametrize("holders", [[(1,), (0,)], [(1,), (1,)]], ids=["all parts look", "one part looks"])
def test_a_fetch_that_looks_for_a_newer_map_ends_with_the_store(holders):
    with pytest.raises(StoreClosed):
        close_during_a_fetch(0.0015, holders_then=holders)


def test_a_node_that_fails_after_the_store_was_closed_is_not_what_the_fetch_says():
    async def close_before_the_answer():
        cluster = FakeCluster(shard_map_of(1, sharded([(0,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        fetching = asyncio.create_task(cluster.fetch_of(table, np.arange(100)))
        await asyncio.sleep(0.0005)
        cluster.nodes[0].is_up = False
        await cluster.client.close()
        await fetching

    with pytest.raises(StoreClosed):
        run_virtually(close_before_the_answer())


async def in_the_middle_of_a_look():
    cluster = FakeCluster(shard_map_of(1, sharded([(0,)])))
    table = await cluster.client.get_table(TABLE, "", 1.0)
    cluster.client.nodes.leave_out(cluster.client.nodes[0])
    cluster.nodes[0].hangs = True
    await asyncio.sleep(6)
    cluster.client.maps.look_now_and_then(5.0)
    return cluster, table


def test_a_store_whose_loop_is_closed_can_be_closed_in_another_one():
    loop = VirtualClockLoop()
    cluster, table = loop.run_until_complete(in_the_middle_of_a_look())
    loop.close()

    async def close_and_fetch():
        await cluster.client.close()
        with pytest.raises(StoreClosed):
            await cluster.fetch_of(table, ROWS[:100])

    run_virtually(close_and_fetch())


def test_a_store_is_not_closed_in_another_loop_while_its_own_may_go_on():
    loop = VirtualClockLoop()
    cluster, table = loop.run_until_complete(in_the_middle_of_a_look())

    with pytest.raises(WrongLoop):
        run_virtually(cluster.client.close())

    cluster.nodes[0].hangs = False
    loop.run_until_complete(cluster.fetch_of(table, ROWS[:100]))
    loop.run_until_complete(cluster.client.close())
    loop.close()


@dataclass
class NodeThatFailsWhenCancelled(FakeClusterNode):
    """As a link may that breaks in the very moment of a cancel."""

    async def _work(self, timeout):
        try:
            await super()._work(timeout)
        except asyncio.CancelledError:
            raise Unavailable("the connection broke") from None


@pytest.mark.parametrize("trial", ["of a node left out", "of a node about to stop"])
def test_closing_ends_a_trial_whose_cancel_meets_a_failure(trial):
    async def close_during_a_trial():
        shard_map = shard_map_of(1, sharded([(0,)]))
        node = NodeThatFailsWhenCancelled(0, shard_map, draining=trial == "of a node about to stop")
        client = ClusterTransport(shard_map, lambda _: node)
        if trial == "of a node left out":
            client.nodes.leave_out(client.nodes[0])
        await asyncio.sleep(0.01)  # it has been greeted
        node.hangs = True
        await asyncio.sleep(0.9)  # it was asked at 0.25 s at the latest

        closing = asyncio.create_task(client.close())
        done, _ = await asyncio.wait((closing,), timeout=100)

        assert done == {closing}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(close_during_a_trial())


def test_closing_ends_a_look_for_a_newer_map_whose_cancel_meets_a_failure():
    async def close_during_a_look():
        shard_map = shard_map_of(50, sharded([(0,)]))
        client = ClusterTransport(shard_map, lambda _: NodeThatFailsWhenCancelled(0, shard_map, hangs=True))
        client.maps.look_now_and_then(-1.0)
        await asyncio.sleep(0.5)

        assert await seconds_of(client.close()) < 1.0

    run_virtually(close_during_a_look())

"""A node that is told to stop: it says so in its replies, and serves until its clients have gone elsewhere."""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table
from support.virtual_clock import run_virtually

from engram_store.shard_map import write_shard_map
from engram_store.v1 import cluster_service_pb2 as cluster
from engram_store.v1 import cluster_service_pb2_grpc as cluster_stubs
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import lookup_service_pb2_grpc as lookup_stubs
from engram_store.v1 import table_service_pb2 as tables
from engram_store.v1 import table_service_pb2_grpc as table_stubs
from store_server.cluster.cluster_config import ClusterConfig
from store_server.config import ServerConfig
from store_server.node import running
from store_server.services.draining import Draining
from store_server.services.under_way import CallsUnderWay

ROWS = random_rows(100, 16)
LONG_SECONDS = 3600.0
PATIENCE_SECONDS = 60
LONGER_THAN_A_NODE_ALONE_TAKES_LOOKUPS = 1.0


@pytest.fixture
def of_cluster(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(write_shard_map(shard_map_of()))
    return ClusterConfig(url=f"file://{path}", node_id="a")


@contextlib.asynccontextmanager
async def node_at(tmp_path, **settings):
    """Run a node with a table `t`; gives it, a channel to it and an open stream of lookups."""
    write_table(tmp_path / "root", "t", ROWS)
    async with (
        running(ServerConfig(root=tmp_path / "root", listen="127.0.0.1:0", **settings)) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        yield node, channel, lookup_stubs.LookupServiceStub(channel).LookupStream()


async def look_up(stream, table="t"):
    await stream.write(lookup.LookupStreamRequest(id=1, table=table, rows=[7]))
    reply = await stream.read()
    assert reply.HasField("failure") or reply.rows == ROWS[7].tobytes()
    return reply


async def descriptions(channel):
    """What the node says of itself in each of the ways that have room for it."""
    described = table_stubs.TableServiceStub(channel)
    maps = cluster_stubs.ClusterServiceStub(channel)
    return (
        await described.ListTables(tables.ListTablesRequest()),
        await described.GetTable(tables.GetTableRequest(name="layer-1")),
        await maps.GetShardMap(cluster.GetShardMapRequest()),
        await maps.GetShardMap(cluster.GetShardMapRequest(known_epoch=1)),
    )


async def test_a_node_of_a_cluster_serves_while_it_is_asked_and_says_in_every_reply_that_it_stops(tmp_path, of_cluster):
    async with node_at(tmp_path, cluster=of_cluster, drain_seconds=LONG_SECONDS) as (node, channel, stream):
        assert not (await look_up(stream)).draining
        assert not any(each.draining for each in await descriptions(channel))
        now = asyncio.get_running_loop().time

        stopping = asyncio.create_task(node.drain())
        await asyncio.sleep(0)
        asked_until = now() + LONGER_THAN_A_NODE_ALONE_TAKES_LOOKUPS
        while now() < asked_until:
            assert (await look_up(stream)).draining
        assert (await look_up(stream, "none")).draining
        assert all(each.draining for each in await descriptions(channel))
        later_stream = lookup_stubs.LookupServiceStub(channel).LookupStream()
        assert (await look_up(later_stream)).draining

        async with asyncio.timeout(PATIENCE_SECONDS):  # nobody asks any more
            await stopping
        with pytest.raises(grpc.aio.AioRpcError, match="shutting down"):
            await later_stream.read()


@pytest.mark.parametrize("is_alone", [True, False])
async def test_who_has_nowhere_else_to_go_does_not_keep_a_node_from_stopping(tmp_path, of_cluster, is_alone):
    settings = {"drain_seconds": LONG_SECONDS} if is_alone else {"cluster": of_cluster, "drain_seconds": 0.5}
    async with node_at(tmp_path, **settings) as (node, _, stream):
        await look_up(stream)

        stopping = asyncio.create_task(node.drain())
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    await look_up(stream)

        async with asyncio.timeout(PATIENCE_SECONDS):
            await stopping


@pytest.mark.parametrize(
    ("lookups", "ends_at"), [([], 0.5), ([0.4], 0.9), ([0.3, 0.7, 1.1], 1.6), (np.arange(0, 20, 0.25), 4.0)]
)
def test_an_announced_stop_comes_when_no_lookup_has_come_for_half_a_second_or_the_time_is_over(lookups, ends_at):
    async def stop():
        loop, draining, under_way = asyncio.get_running_loop(), Draining(), CallsUnderWay()
        draining.announce()
        began = loop.time()
        for when in lookups:
            loop.call_at(began + when, draining.told_in, b"")
        with under_way.one_more():
            is_quiet = await draining.nobody_asks(under_way, most_seconds=4.0)
        assert loop.time() - began == pytest.approx(ends_at, abs=1e-3)
        assert is_quiet == (ends_at < 4.0)

    run_virtually(stop())


def test_an_announced_stop_comes_when_nobody_is_connected_any_more():
    async def stop():
        loop, draining, under_way = asyncio.get_running_loop(), Draining(), CallsUnderWay()
        draining.announce()
        began = loop.time()
        stream = under_way.one_more()
        stream.__enter__()
        loop.call_at(began + 0.2, stream.__exit__, None, None, None)
        assert await draining.nobody_asks(under_way, most_seconds=4.0)
        assert loop.time() - began == pytest.approx(0.2, abs=1e-3)

    run_virtually(stop())

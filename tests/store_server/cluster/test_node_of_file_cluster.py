"""Nodes whose shard map is a file: what they tell clients of the cluster, and when the file is wrong or away."""

import contextlib
import os
import re

import grpc
import pytest
from structlog.testing import capture_logs
from support.processes import node_process
from support.rows import random_rows
from support.shard_maps import later, shard_map_of
from support.tables import write_table

from engram_store.shard_map import Node, to_message, write_shard_map
from engram_store.v1 import cluster_service_pb2 as cluster
from engram_store.v1 import cluster_service_pb2_grpc as cluster_stubs
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import lookup_service_pb2_grpc as lookup_stubs
from engram_store.v1 import table_service_pb2 as tables
from engram_store.v1 import table_service_pb2_grpc as table_stubs
from store_server.cluster.cluster_config import ClusterConfig
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot, RootOfAnotherNode

ROWS = random_rows(100, 16)
FIRST = shard_map_of(Node(id="a", address="127.0.0.1:1"), Node(id="b", address="127.0.0.1:2"))
PATIENCE_SECONDS = 30


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    write_table(root, "of-the-node", ROWS)
    return root


@pytest.fixture
def map_file(tmp_path):
    return tmp_path / "map.json"


@contextlib.asynccontextmanager
async def node_at(root, map_file, *, node_id="a", address=""):
    cluster_config = ClusterConfig(url=f"file://{map_file}", node_id=node_id, address=address)
    config = ServerConfig(root=root, listen="127.0.0.1:0", cluster=cluster_config)
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        yield channel


async def map_of(channel, known_epoch=0):
    request = cluster.GetShardMapRequest(known_epoch=known_epoch)
    return await cluster_stubs.ClusterServiceStub(channel).GetShardMap(request, timeout=PATIENCE_SECONDS)


async def table_of(channel, name, version=""):
    request = tables.GetTableRequest(name=name, version=version)
    return await table_stubs.TableServiceStub(channel).GetTable(request, timeout=PATIENCE_SECONDS)


async def status_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_a_node_hands_out_the_map_to_who_has_none_as_new(root, map_file):
    map_file.write_text(write_shard_map(later(FIRST)))

    async with node_at(root, map_file) as channel:
        for known in (0, 1):
            assert await map_of(channel, known) == cluster.GetShardMapResponse(epoch=2, map=to_message(later(FIRST)))
        for known in (2, 3):
            assert await map_of(channel, known) == cluster.GetShardMapResponse(epoch=2)


async def test_a_node_that_stands_alone_says_that_it_is_in_no_cluster(root):
    async with (
        running(ServerConfig(root=root, listen="127.0.0.1:0")) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        assert await map_of(channel) == cluster.GetShardMapResponse()
        assert (await table_of(channel, "of-the-node")).map_epoch == 0


async def test_a_node_describes_the_tables_of_the_cluster_whatever_it_holds(root, map_file):
    map_file.write_text(write_shard_map(FIRST))

    async with node_at(root, map_file) as channel:
        found = await table_of(channel, "layer-1")
        listed = await table_stubs.TableServiceStub(channel).ListTables(tables.ListTablesRequest())
        assert await table_of(channel, "layer-1", "v1") == found
        not_there = await status_of(table_of(channel, "of-the-node"))
        no_version = await status_of(table_of(channel, "layer-1", "v2"))

    table = found.table
    assert (table.name, table.version, table.num_rows, table.row_bytes) == ("layer-1", "v1", 100, 16)
    assert (table.row_format, table.fingerprint, table.backend) == ("float32", "fp", "cluster")
    assert table.max_rows_per_lookup == 131_072
    assert (listed.tables, listed.map_epoch, found.map_epoch) == ([table], 1, 1)
    assert not_there == (grpc.StatusCode.NOT_FOUND, "no table 'of-the-node' on the nodes of cluster 'prod'")
    assert no_version[0] == grpc.StatusCode.NOT_FOUND
    assert "v2" in no_version[1]


async def test_rows_are_served_from_what_the_node_has_even_if_it_is_not_in_the_map(root, map_file):
    map_file.write_text(write_shard_map(FIRST))

    with capture_logs() as logs:
        async with node_at(root, map_file, node_id="c") as channel:
            request = lookup.LookupRequest(table="of-the-node", rows=[7, 3])
            reply = await lookup_stubs.LookupServiceStub(channel).Lookup(request)
            map_file.write_text(write_shard_map(later(FIRST)))
            while (await map_of(channel)).epoch == 1:
                pass

    assert reply.rows == ROWS[[7, 3]].tobytes()
    said = [log for log in logs if log["event"] == "node c is not in the shard map: nobody will ask it for rows"]
    assert len(said) == 1


async def test_a_node_whose_id_is_anothers_says_so(root, map_file):
    map_file.write_text(write_shard_map(FIRST))

    with capture_logs() as logs:
        async with node_at(root, map_file, node_id="b", address="10.0.0.9:1"):
            pass

    said = "the shard map has node b at 127.0.0.1:2, this one is at 10.0.0.9:1: two nodes with one id?"
    assert [log["event"] for log in logs].count(said) == 1


async def test_who_asks_for_rows_that_the_node_does_not_hold_is_told_the_epoch_of_its_map(root, map_file):
    map_file.write_text(write_shard_map(later(FIRST)))
    data = DataRoot.open(root)
    version = data.version_path("of-the-node", data.current_version("of-the-node"))
    (version / "held.json").write_text('{"format": 1, "blocks": []}')

    async with node_at(root, map_file) as channel:
        request = lookup.LookupRequest(table="of-the-node", rows=[7])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await lookup_stubs.LookupServiceStub(channel).Lookup(request)

    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "the shard map of this node has epoch 2" in caught.value.details()


async def test_a_node_that_knows_no_map_is_not_taken_for_one_that_stands_alone(root, map_file):
    with capture_logs() as logs:
        async with node_at(root, map_file) as channel:
            for call in (map_of(channel), table_of(channel, "of-the-node")):
                code, said = await status_of(call)
                assert code == grpc.StatusCode.UNAVAILABLE
                assert said == "the node is starting and does not know yet the shard map of its cluster; try again"

    said = [log["source"] for log in logs if log["event"] == "the source has no shard map"]
    assert said == [str(map_file)]


@pytest.mark.parametrize("damage", ["away", "wrong", "no file"])
async def test_a_node_whose_source_is_away_begins_with_the_map_it_knew(root, map_file, damage):
    map_file.write_text(write_shard_map(FIRST))
    async with node_at(root, map_file):
        pass
    match damage:
        case "away":
            map_file.unlink()
            map_file.mkdir()
        case "wrong":
            map_file.write_text("{")
        case "no file":
            map_file.unlink()

    async with node_at(root, map_file) as channel:
        assert (await map_of(channel)).map == to_message(FIRST)


async def test_a_second_node_on_a_data_root_is_refused_as_long_as_the_first_lives(root, map_file):
    map_file.write_text(write_shard_map(FIRST))
    said = f"{re.escape(str(root))} belongs to a living node \\(a, process {os.getpid()}\\).*root of its own"

    async with node_at(root, map_file):
        with pytest.raises(RootOfAnotherNode, match=said):
            async with node_at(root, map_file, node_id="b"):
                pass
    async with node_at(root, map_file, node_id="b") as channel:
        assert (await map_of(channel)).epoch == 1


async def test_a_node_serves_a_data_root_that_cannot_be_locked(root, map_file):
    map_file.write_text(write_shard_map(FIRST))
    (root / "NODE").mkdir()

    with capture_logs() as logs:
        async with node_at(root, map_file) as channel:
            request = lookup.LookupRequest(table="of-the-node", rows=[7, 3])
            reply = await lookup_stubs.LookupServiceStub(channel).Lookup(request)

    assert reply.rows == ROWS[[7, 3]].tobytes()
    assert "it cannot be seen to that no other node has this data root" in [log["event"] for log in logs]


def test_every_worker_follows_the_map(root, map_file):
    map_file.write_text(write_shard_map(FIRST))
    options = ("--workers", "2", "--cluster", f"file://{map_file}", "--node-id", "a")

    with node_process(root, *options) as node:
        assert node.logged("event='worker ready' worker=1 ")
        map_file.write_text(write_shard_map(later(FIRST)))
        assert node.logged("event='shard map' worker=0 epoch=2 nodes=2 versions=1")
        assert node.logged("event='shard map' worker=1 epoch=2 nodes=2 versions=1")


def test_a_node_of_a_cluster_makes_the_data_root_that_it_is_to_fill(tmp_path, map_file):
    map_file.write_text(write_shard_map(FIRST))

    with node_process(tmp_path / "new", "--cluster", f"file://{map_file}", "--node-id", "a") as node:
        assert node.stop() == 0

    assert (tmp_path / "new" / "cluster" / "map.json").exists()

"""A node takes note of which versions clients look up, and of nothing else that finds them."""

import asyncio

import grpc
import pytest
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import Node, VersionKey, write_shard_map
from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub
from store_server.catalog import Catalog
from store_server.cluster.cluster_config import ClusterConfig
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot

ROWS = random_rows(100, 16)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def test_versions_are_noted_when_a_lookup_finds_or_opens_them_and_once_each_time(root):
    old, new = (VersionKey("t", write_table(root, "t", rows)) for rows in (ROWS, ROWS ^ 1))
    catalog = Catalog(DataRoot.open(root), ServerConfig(root=root))
    catalog.reload()

    assert catalog.asked_for() == set()
    assert catalog.serves(*old)
    assert catalog.serves(*new)
    assert catalog.asked_for() == set()
    catalog.find("t", "")
    assert catalog.asked_for() == {new}
    catalog.open(*old)
    assert catalog.asked_for() == {old}
    catalog.find(*old)
    catalog.find(*new)
    assert catalog.asked_for() == {old, new}
    assert catalog.asked_for() == set()
    catalog.close()


async def test_a_worker_that_does_not_speak_for_its_node_leaves_word_of_what_it_was_asked_for(root, tmp_path):
    write_table(root, "t", ROWS)
    map_file = tmp_path / "map.json"
    map_file.write_text(write_shard_map(shard_map_of(Node(id="a", address="127.0.0.1:1"))))
    cluster = ClusterConfig(url=map_file.as_uri(), node_id="a", speaks_for_node=False)
    config = ServerConfig(root=root, listen="127.0.0.1:0", reload_seconds=0.02, cluster=cluster)

    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        await LookupServiceStub(channel).Lookup(LookupRequest(table="t", rows=[7]), timeout=60)
        async with asyncio.timeout(60):
            while not (root / "cluster" / "read").exists():
                await asyncio.sleep(0.01)

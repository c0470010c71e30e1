"""A real node that lacks a version of which its shard map says that it holds it, as while it copies or after a loss."""

import numpy as np
import pytest
from support.rows import random_rows
from support.tables import write_table

from engram_client.errors import VersionNotFound
from engram_client.node_transport import NodeTransport
from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, TableSet, write_shard_map
from store_server.cluster.cluster_config import ClusterConfig
from store_server.config import ServerConfig
from store_server.node import running

ROWS = random_rows(100, 16)


def map_with(version):
    return ShardMap(
        cluster="test",
        epoch=1,
        replicas=1,
        nodes=(Node(id="a", address="127.0.0.1:1"),),
        versions={version.key: version},
        sets={"model": TableSet(name="model", current={version.table: version.version})},
    )


async def test_a_node_that_lacks_a_version_of_its_map_says_so_and_not_that_it_is_unavailable(tmp_path):
    held = write_table(tmp_path / "root", "t", ROWS)
    shards = (Shard(end_row=100, holders=(0,)),)
    lacked = ShardedVersion(table="t", version="0" * len(held), num_rows=100, row_bytes=16, block_rows=1, shards=shards)
    (tmp_path / "map.json").write_text(write_shard_map(map_with(lacked)))
    cluster = ClusterConfig(url=f"file://{tmp_path}/map.json", node_id="a")
    config = ServerConfig(root=tmp_path / "root", listen="127.0.0.1:0", cluster=cluster)

    async with running(config) as node:
        transport = NodeTransport(node.address, retries=False)
        try:
            table = await transport.get_table("t", "", 30.0)
            with pytest.raises(VersionNotFound):
                await transport.fetch(table, np.arange(10), np.empty((10, 16), np.uint8), 30.0)
        finally:
            await transport.close()

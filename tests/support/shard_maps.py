"""Shard maps for the tests of nodes."""

import dataclasses

from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, TableSet


def shard_map_of(
    *nodes: Node, epoch: int = 1, cluster: str = "prod", replicas: int = 1, num_rows: int = 100
) -> ShardMap:
    """A map with one table, `layer-1`, that the first node holds wholly."""
    version = ShardedVersion(
        table="layer-1",
        version="v1",
        num_rows=num_rows,
        row_bytes=16,
        block_rows=10,
        row_format="float32",
        fingerprint="fp",
        shards=(Shard(end_row=num_rows, holders=(0,)),),
    )
    return ShardMap(
        cluster=cluster,
        epoch=epoch,
        replicas=replicas,
        nodes=nodes or (Node(id="a", address="127.0.0.1:1"),),
        versions={version.key: version},
        sets={"model": TableSet(name="model", current={"layer-1": "v1"})},
    )


def later(shard_map: ShardMap, **changes: object) -> ShardMap:
    """The map of the next epoch."""
    return dataclasses.replace(shard_map, epoch=shard_map.epoch + 1, **changes)

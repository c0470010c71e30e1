"""Small clusters for tests of what is placed where."""

from collections.abc import Sequence
from dataclasses import replace

from engram_store.shard_map import Node, Shard, ShardedVersion
from store_server.cluster.placement.assignment import Targets

ROW_BYTES = 10
BLOCK_ROWS = 10
SHARD_BYTES = ROW_BYTES * BLOCK_ROWS
"""Of the versions here: a shard is one block."""


def a_node(name: str, capacity: int = 0, *, draining: bool = False, **labels: str) -> Node:
    return Node(id=name, address=f"{name}:1", capacity_bytes=capacity, labels=labels, draining=draining)


def some_nodes(number: int) -> list[Node]:
    return [a_node(f"n{i}") for i in range(number)]


def a_version(num_shards: int, table: str = "t", version: str = "v1", row_bytes: int = ROW_BYTES) -> ShardedVersion:
    """A version that nobody holds."""
    return ShardedVersion(
        table=table,
        version=version,
        num_rows=num_shards * BLOCK_ROWS,
        row_bytes=row_bytes,
        block_rows=BLOCK_ROWS,
        shards=tuple(Shard(end_row=(i + 1) * BLOCK_ROWS, holders=()) for i in range(num_shards)),
    )


def held(version: ShardedVersion, targets: Sequence[tuple[int, ...]]) -> ShardedVersion:
    """The version once the nodes hold what they are to hold."""
    shards = tuple(replace(shard, holders=nodes) for shard, nodes in zip(version.shards, targets, strict=True))
    return replace(version, shards=shards)


def bytes_of(versions: Sequence[ShardedVersion], targets: Targets, num_nodes: int) -> list[int]:
    """The bytes that each node is to hold."""
    load = [0] * num_nodes
    for version in versions:
        for nodes in targets[version.key]:
            for node in nodes:
                load[node] += BLOCK_ROWS * version.row_bytes
    return load


def bytes_moved(versions: Sequence[ShardedVersion], targets: Targets) -> int:
    """The bytes that nodes are to hold and do not hold yet."""
    return sum(
        BLOCK_ROWS * version.row_bytes * len(set(nodes) - set(shard.holders))
        for version in versions
        for shard, nodes in zip(version.shards, targets[version.key], strict=True)
    )

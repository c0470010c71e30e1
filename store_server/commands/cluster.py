"""`engram-store cluster`: what a cluster consists of, and what it lacks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.placement.assignment import shard_sizes
from store_server.commands import cluster_options
from store_server.commands.cluster_access import access_of, cluster_failures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engram_store.shard_map import ShardedVersion, ShardMap
    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.registration import NodeRegistration

EXAMPLES: Final = ("engram-store cluster etcd://10.0.0.9:2379/prod",)


def cluster(
    url: Annotated[str, typer.Argument(metavar="URL", help="etcd://[USER@]HOST:PORT[,HOST:PORT]/NAME or file:///PATH")],
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
) -> None:
    """Show the nodes, sets and versions of a cluster, and which shards lack replicas or are being copied."""
    with cluster_failures():
        config = access_of(url, password_file, etcd_ca, etcd_cert, etcd_key)
        shard_map, living = asyncio.run(_look(config))
    for line in lines(shard_map, living):
        typer.echo(line)


def lines(shard_map: ShardMap, living: Mapping[str, NodeRegistration] | None) -> Iterator[str]:
    """Yield what there is to say of a map, given what the nodes say that are registered, by id; None if none are."""
    yield f"cluster {shard_map.cluster}  epoch {shard_map.epoch}  replicas {shard_map.replicas}"
    held = _bytes_by_node(shard_map)
    for place, node in enumerate(shard_map.nodes):
        state = _state(node.id, living) + (", leaving" if node.draining else "")
        of = f" of {node.capacity_bytes:,}" if node.capacity_bytes else ""
        labels = "".join(f"  {key}={value}" for key, value in sorted(node.labels.items()))
        stored = f", {living[node.id].bytes_used:,} stored" if living and node.id in living else ""
        yield f"node  {node.id}  {node.address}  {state}  {held[place]:,}{of} bytes{stored}{labels}"
    for name, each in sorted(shard_map.sets.items()):
        for state, versions in (("current", each.current), ("previous", each.previous), ("pending", each.pending)):
            for table, version in sorted(versions.items()):
                yield f"set  {name}  {state}  {table}  {version}"
    rank = importance(shard_map.sets.values())
    for key in sorted(shard_map.versions):
        line = _of_version(shard_map.versions[key], shard_map.replicas)
        yield line if key in rank else f"{line}, retired"


def _state(node_id: str, living: Mapping[str, NodeRegistration] | None) -> str:
    if living is None:
        return "not registered"
    return "alive" if node_id in living else "away"


def _of_version(version: ShardedVersion, replicas: int) -> str:
    lacking = sum(len(shard.holders) < replicas for shard in version.shards)
    copied = sum(bool(shard.joining) for shard in version.shards)
    shards = f"{len(version.shards)} shards, {lacking} lack replicas, {copied} are being copied"
    return f"version  {version.table}  {version.version}  {version.num_rows:,} rows  {shards}"


def _bytes_by_node(shard_map: ShardMap) -> list[int]:
    held = [0] * len(shard_map.nodes)
    for version in shard_map.versions.values():
        for shard, size in zip(version.shards, shard_sizes(version), strict=True):
            for place in shard.holders:
                held[place] += size
    return held


async def _look(config: ClusterConfig) -> tuple[ShardMap, Mapping[str, NodeRegistration] | None]:
    from store_server.cluster.living_cluster import living_cluster

    async with living_cluster(config) as cluster:
        return await cluster.shard_map(), (await cluster.living() if cluster.has_registry else None)

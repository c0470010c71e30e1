"""The nodes of a shard map: whether this client reaches each, whether they agree, and what is held by too few."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from store_server.commands.doctor.calls import call_failed
from store_server.commands.doctor.finding import fail, ok, warn
from store_server.commands.doctor.status import ask_all, judge_clock, judge_versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from engram_client.errors import EngramError
    from engram_client.grpc_transport import GrpcTransport
    from engram_client.keyring import Keyring
    from engram_store.shard_map import ShardMap
    from store_server.commands.doctor.finding import Finding


async def check_cluster(
    address: str, transport: GrpcTransport, keyring: Keyring, seconds: float
) -> AsyncIterator[Finding]:
    """Yield what the cluster of a node is like from here."""
    from engram_client.errors import EngramError
    from engram_store.shard_map import InvalidShardMap, from_message

    try:
        shard_map = from_message((await transport.get_shard_map(0, seconds)).map)
    except (EngramError, InvalidShardMap) as error:
        yield call_failed("map", address, error)
        return
    found = f"cluster {shard_map.cluster!r}, epoch {shard_map.epoch}, {len(shard_map.nodes)} nodes"
    yield ok("map", address, found)
    answers = await asyncio.gather(*(_epoch_of(node.address, keyring, seconds) for node in shard_map.nodes))
    epochs: dict[str, int] = {}
    for node, answer in zip(shard_map.nodes, answers, strict=True):
        if isinstance(answer, int):
            epochs[node.id] = answer
        else:
            change = "start it, or open its address to this client; if it is gone for good: `engram-store leave`"
            yield fail("node", f"{node.id} ({node.address})", str(answer), change)
    for finding in judge_epochs(epochs, shard_map.epoch):
        yield finding
    for finding in judge_replicas(shard_map, epochs):
        yield finding
    living = {node.id: node.address for node in shard_map.nodes if node.id in epochs}
    said = await ask_all(living, keyring, seconds)
    for finding in judge_versions(repr(shard_map.cluster), {name: seen.version for name, seen in said.items()}):
        yield finding
    for name, seen in said.items():
        if living[name] != address:  # whose clock was seen already
            yield judge_clock(f"{name} ({living[name]})", seen)


def judge_epochs(epochs: Mapping[str, int], expected: int) -> Iterator[Finding]:
    """Yield which nodes that answer go by another map than the one that was asked first."""
    if not (others := {node: epoch for node, epoch in epochs.items() if epoch != expected}):
        if epochs:
            yield ok("epoch", ", ".join(epochs), f"all go by epoch {expected}")
        return
    for node, epoch in others.items():
        said = (
            f"is in no cluster, where the map of epoch {expected} names it" if not epoch else f"goes by epoch {epoch}"
        )
        change = "see whether it reaches etcd, or reads the same map file; it should follow within seconds"
        yield warn("epoch", node, f"{said}, others by {expected}" if epoch else said, change)


def judge_replicas(shard_map: ShardMap, living: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the versions of which some rows are held by no node that answers, or by fewer than there should be."""
    for version in shard_map.versions.values():
        num_living = Counter(
            min(sum(shard_map.nodes[holder].id in living for holder in shard.holders), shard_map.replicas)
            for shard in version.shards
        )
        subject, total = f"{version.table} {version.version}", len(version.shards)
        few = total - num_living[shard_map.replicas] - num_living[0]
        if num_living[0]:
            change = "bring back the nodes that hold them: nobody can read these rows"
            yield fail("replicas", subject, f"{num_living[0]} of {total} shards are on no node that answers", change)
        elif few:
            change = "bring back nodes that are away, or wait while copies are made: see `engram-store cluster`"
            yield warn("replicas", subject, f"{few} of {total} shards have less than {shard_map.replicas}", change)
        else:
            yield ok("replicas", subject, f"each of {total} shards has {shard_map.replicas} that answer")


async def _epoch_of(address: str, keyring: Keyring, seconds: float) -> int | EngramError:
    from engram_client.errors import EngramError
    from engram_client.grpc_transport import GrpcTransport

    transport = GrpcTransport(address, retries=False, keyring=keyring)
    try:
        return (await transport.get_shard_map((1 << 63) - 1, seconds)).epoch
    except EngramError as error:
        return error
    finally:
        await transport.close()

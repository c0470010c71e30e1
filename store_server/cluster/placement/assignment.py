"""Which node is to hold which shard. A pure function: every node computes the same from the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from engram_store.shard_map import Node, ShardedVersion, VersionKey
from store_server.cluster.placement.balancing import settle
from store_server.cluster.placement.failure_domains import DOMAIN_LABELS, domains_of
from store_server.cluster.placement.node_shares import capacities_of
from store_server.cluster.placement.placing import Numbers, Placing

FoundAt: TypeAlias = Mapping[VersionKey, Mapping[int, Collection[int]]]
Targets: TypeAlias = Mapping[VersionKey, tuple[tuple[int, ...], ...]]
# Each round only makes things better, so they come to an end; mostly the second finds nothing left to do.
_MOST_ROUNDS: Final = 8


class Assignment(NamedTuple):
    """The nodes that are to hold each shard of each version, as places in the list of nodes."""

    targets: Targets
    shortage: str
    """What does not fit into the memory there is, in a sentence; empty if everything does."""


def assign(
    nodes: Sequence[Node],
    versions: Sequence[ShardedVersion],
    replicas: int,
    *,
    lost: Collection[str] = (),
    away: Collection[str] = (),
    found_at: FoundAt | None = None,
    domain_labels: Sequence[str] = DOMAIN_LABELS,
) -> Assignment:
    """Choose `replicas` nodes for each shard, or as many as there are nodes that are neither draining nor `lost`.

    The nodes that now hold a shard or join it stay, as far as they can: the joining ones and, for the rest, the first
    holders. Nodes that are `away` (ids, like `lost`) keep what they have and get nothing new. `found_at` names nodes
    that have a shard, by its number, though the map does not say so: it costs nothing to choose them. If memory is
    scarce, `versions` that come first find room first.

    - No two nodes of a shard share a failure domain (`domain_labels`, the widest first) while the nodes and their
      memory allow it; otherwise they share the narrowest ones, and as evenly as can be.
    - No node gets more than its `capacity_bytes`; what is too much for it, it gives away, first what it joins and does
      not have yet. Nodes hold in proportion to them, each to about the largest shard.
    - Few bytes move. The least possible is the larger of two sums. What somebody has to give: all shards of nodes that
      are lost or draining, and what nodes have above their share and one shard. What somebody has to take: what nodes
      lack of their share less one shard. Both in whole shards.
    - The shards of a node are shared with many others, so that many restore them if it is lost.

    The order of the nodes makes no difference.
    """
    usable = usable_places(nodes, lost)
    sizes = [size for version in versions for size in shard_sizes(version)]
    copies = min(replicas, len(usable))
    if not copies or not sizes:
        return Assignment({version.key: tuple(() for _ in version.shards) for version in versions}, "")
    stated = [node.capacity_bytes for node in nodes]
    capacities = capacities_of(stated, usable, sum(sizes) * copies, max(sizes))
    placing = Placing(
        shard_bytes=sizes,
        version_of_shard=[number for number, version in enumerate(versions) for _ in version.shards],
        capacities=capacities,
        domains=domains_of([nodes[place] for place in usable], domain_labels),
        copies=copies,
        may_receive=[nodes[place].id not in away for place in usable],
        found_at=_found_at(versions, usable, found_at or {}),
    )
    placing.begin_with(_kept(placing, versions, usable), _joining(versions, usable))
    for _ in range(_MOST_ROUNDS):
        if not _fill(placing) + settle(placing):
            break
    return Assignment(_targets(placing, versions, usable), _shortage(placing, sizes, capacities))


def usable_places(nodes: Sequence[Node], lost: Collection[str]) -> list[int]:
    """Return the places of the nodes that may hold something, in the order of their ids."""
    by_id = sorted(range(len(nodes)), key=lambda place: nodes[place].id)
    return [place for place in by_id if not nodes[place].draining and nodes[place].id not in lost]


def shard_sizes(version: ShardedVersion) -> list[int]:
    """Return the bytes of each shard of a version."""
    starts = [0, *(shard.end_row for shard in version.shards[:-1])]
    return [(shard.end_row - start) * version.row_bytes for start, shard in zip(starts, version.shards, strict=True)]


def _found_at(versions: Sequence[ShardedVersion], usable: Sequence[int], found_at: FoundAt) -> list[set[int]]:
    number_of = {place: number for number, place in enumerate(usable)}
    return [
        {number_of[place] for place in found_at.get(version.key, {}).get(shard, ()) if place in number_of}
        for version in versions
        for shard in range(len(version.shards))
    ]


def _kept(placing: Placing, versions: Sequence[ShardedVersion], usable: Sequence[int]) -> Numbers:
    """Return the nodes that shards stay with, (shards, copies): who joins was chosen, and of the holders the first."""
    number_of = {place: number for number, place in enumerate(usable)}
    kept = placing.targets.copy()
    for row, shard in zip(kept, (shard for version in versions for shard in version.shards), strict=True):
        numbers = [number_of[place] for place in (*shard.joining, *shard.holders) if place in number_of]
        row[: len(numbers)] = numbers[: placing.copies]
    return kept


def _joining(versions: Sequence[ShardedVersion], usable: Sequence[int]) -> list[set[int]]:
    """Return for each shard the nodes that do not have it yet, by the map."""
    number_of = {place: number for number, place in enumerate(usable)}
    shards = (shard for version in versions for shard in version.shards)
    return [{number_of[place] for place in shard.joining if place in number_of} for shard in shards]


def _fill(placing: Placing) -> int:
    """Choose the nodes that are still to be chosen; returns how many were."""
    filled = 0
    for shard in placing.shards_with_a_place():
        while placing.has_place(shard) and (node := placing.best_node(shard)) is not None:
            placing.add(shard, node)
            filled += 1
    return filled


def _targets(placing: Placing, versions: Sequence[ShardedVersion], usable: Sequence[int]) -> Targets:
    shards = range(len(placing.targets))
    chosen = (tuple(sorted(usable[node] for node in placing.chosen(shard))) for shard in shards)
    return {version.key: tuple(islice(chosen, len(version.shards))) for version in versions}


def _shortage(placing: Placing, sizes: Sequence[int], capacities: Sequence[int]) -> str:
    copies = placing.copies
    without = sum(sizes[shard] * (copies - len(placing.chosen(shard))) for shard in placing.shards_with_a_place())
    above = int((placing.load - placing.capacities).clip(0).sum()) * placing.unit
    if not without and not above:
        return ""
    return (
        f"{without + above} bytes of rows have no place: {copies} copies of all versions need {sum(sizes) * copies} "
        f"bytes, and the {len(capacities)} nodes that stay can hold {sum(capacities)}, in whole shards; add nodes or "
        "memory, or take the previous versions of a set out with `engram-store forget`"
    )

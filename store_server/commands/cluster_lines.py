"""What `engram-store cluster` says, in lines whose columns are two spaces or more apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.placement.assignment import shard_sizes
from store_server.counted import counted, is_or_are

if TYPE_CHECKING:
    from engram_store.shard_map import Node, ShardedVersion, ShardMap, TableSet
    from store_server.cluster.node_answers import NodeAnswer
    from store_server.cluster.registration import NodeRegistration

_PUBLISHER_GONE: Final = "has gone: nodes drop what is pending --lost-after after that"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A cluster at one moment."""

    shard_map: ShardMap
    answers: Mapping[str, NodeAnswer]
    """What nodes said that were asked, by id: of those that gave an answer."""
    living: Mapping[str, NodeRegistration] | None = None
    """What nodes say that are registered, by id; None where nodes do not register."""
    publishers: Collection[str] = ()
    """Who is registered as publishing."""

    def gives_rows(self, node: Node) -> bool:
        """Tell whether a copy on a node is a living one: others count on the node, and it answers who asks."""
        return node.id in self.answers and (self.living is None or node.id in self.living)


def lines(seen: Seen) -> Iterator[str]:
    """Yield what there is to say."""
    shard_map = seen.shard_map
    yield f"cluster {shard_map.cluster}  epoch {shard_map.epoch}  {counted(shard_map.replicas, 'replica')}"
    by_map = _bytes_by_node(shard_map)
    places = sorted(range(len(shard_map.nodes)), key=lambda place: shard_map.nodes[place].id)
    yield from _aligned([_of_node(seen, shard_map.nodes[place], by_map[place]) for place in places])
    yield from _aligned(
        [line for _, each in sorted(shard_map.sets.items()) for line in _of_set(each, seen.publishers, seen.living)]
    )
    rank = importance(shard_map.sets.values())
    alive = {place for place in places if seen.gives_rows(shard_map.nodes[place])}
    versions = [shard_map.versions[key] for key in sorted(shard_map.versions)]
    yield from _aligned(
        [_of_version(each, shard_map.replicas, alive, is_retired=each.key not in rank) for each in versions]
    )
    once = sum(version.num_rows * version.row_bytes for version in versions)
    yield f"total  {once:,} bytes in these versions, {sum(by_map):,} bytes on all nodes by the map"


def _of_node(seen: Seen, node: Node, by_map: int) -> list[str]:
    of = f" of {node.capacity_bytes:,}" if node.capacity_bytes else ""
    registered = (seen.living or {}).get(node.id)
    on_disk = f", {registered.bytes_used:,} on its disk" if registered is not None else ""
    labels = [f"{key}={value}" for key, value in sorted(node.labels.items())]
    line = ["node", node.id, node.address, _state(seen, node), f"{by_map:,}{of} bytes by the map{on_disk}", *labels]
    if registered is not None and registered.disk_failure:  # last, as it may be long
        line.append(f"takes no more rows: {' '.join(registered.disk_failure.split())}")
    return line


def _state(seen: Seen, node: Node) -> str:
    answer = seen.answers.get(node.id)
    registered = [] if seen.living is None else ["alive" if node.id in seen.living else "away"]
    if answer is None:
        said = [] if registered == ["away"] else ["does not answer"]
    elif answer.is_stopping:
        registered, said = [], ["is stopping and serves still", _epoch(answer, seen.shard_map.epoch)]
    else:
        said = ["answers", _epoch(answer, seen.shard_map.epoch)]
    return ", ".join([*registered, *said, *(["leaving"] if node.draining else [])])


def _epoch(answer: NodeAnswer, newest: int) -> str:
    if answer.epoch is None:
        return "knows no map yet"
    if not answer.epoch:
        return "is in no cluster"
    if answer.is_other_map:
        return f"goes by another map of epoch {answer.epoch}: raise it with every change"
    return f"goes by epoch {answer.epoch}" + (f", not {newest}" if answer.epoch != newest else "")


def _of_set(
    each: TableSet, publishers: Collection[str], living: Mapping[str, NodeRegistration] | None
) -> Iterator[list[str]]:
    for state, versions in (("current", each.current), ("previous", each.previous), ("pending", each.pending)):
        for table, version in sorted(versions.items()):
            yield ["set", each.name, state, table, version]
    if each.pending and living is not None:
        is_there = each.publisher in publishers
        yield ["set", each.name, "pending", f"its publisher {'is alive' if is_there else _PUBLISHER_GONE}"]


def _of_version(version: ShardedVersion, replicas: int, alive: Collection[int], *, is_retired: bool) -> list[str]:
    shards = version.shards
    living = [sum(place in alive for place in shard.holders) for shard in shards]
    few = sum(number < replicas for number in living)
    none = sum(not number for number in living)
    lacking = sum(len(shard.holders) < replicas for shard in shards)
    copied = sum(bool(shard.joining) for shard in shards)
    said = [
        counted(len(shards), "shard"),
        f"{few} {'has' if few == 1 else 'have'} fewer than {counted(replicas, 'living copy', 'living copies')}",
        *([f"{none} {'has' if none == 1 else 'have'} none"] if none else []),
        f"{lacking} {'lacks' if lacking == 1 else 'lack'} replicas in the map",
        f"{copied} {is_or_are(copied)} being copied",
        *(["retired"] if is_retired else []),
    ]
    size = f"{counted(version.num_rows, 'row')}, {version.num_rows * version.row_bytes:,} bytes"
    return ["version", version.table, version.version, size, ", ".join(said)]


def _bytes_by_node(shard_map: ShardMap) -> list[int]:
    held = [0] * len(shard_map.nodes)
    for version in shard_map.versions.values():
        for shard, size in zip(version.shards, shard_sizes(version), strict=True):
            for place in shard.holders:
                held[place] += size
    return held


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield each row as a line, its columns below those of the others."""
    widths = [0] * max(map(len, rows), default=0)
    for row in rows:
        for column, text in enumerate(row[:-1]):  # what ends a line needs no room
            widths[column] = max(widths[column], len(text))
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)).rstrip()

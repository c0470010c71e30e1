"""Which nodes and publishers are lost, and not only away for a moment or cut off together with many others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from engram_store.shard_map import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """How long a node is waited for. Seconds."""

    lost_after_seconds: float = 60.0
    """A node that is away for as long is lost: others are to hold its shards."""
    all_lost_after_seconds: float = 600.0
    """The same where half of the nodes or more, and at least two, went away together: that was rather the network."""

    def __post_init__(self) -> None:
        if not 0 < self.lost_after_seconds <= self.all_lost_after_seconds:
            raise ValueError(
                "lost_after_seconds must be above 0 and all_lost_after_seconds at least as much, got "
                f"{self.lost_after_seconds} and {self.all_lost_after_seconds}"
            )


def lost_nodes(
    nodes: Sequence[Node], live: Collection[str], away_seconds: Mapping[str, float], settings: LossSettings
) -> frozenset[str]:
    """Return the ids of the nodes that are lost, of those that are not `live`.

    `away_seconds` tells for how long the caller, while it could see who registers, has not seen a node. Nodes went away
    together if less than `lost_after_seconds` lie between.
    """
    away = {node.id: away_seconds.get(node.id, 0.0) for node in nodes if node.id not in live}
    return frozenset(
        id_ for id_, seconds in away.items() if seconds >= _waited_for(seconds, away.values(), len(nodes), settings)
    )


def lost_publishers(
    away_seconds: Mapping[str, float],
    num_publishers: int,
    nodes_away_seconds: Collection[float],
    num_nodes: int,
    settings: LossSettings,
) -> frozenset[str]:
    """Return the publishers that are lost, of those that are away, in a map that names `num_publishers` of them.

    They are waited for as nodes are, and for the longer time also if they went away together with half of the nodes.
    """
    return frozenset(
        name
        for name, seconds in away_seconds.items()
        if seconds >= _waited_for(seconds, away_seconds.values(), num_publishers, settings)
        and seconds >= _waited_for(seconds, nodes_away_seconds, num_nodes, settings)
    )


def _waited_for(seconds: float, away_seconds: Collection[float], number: int, settings: LossSettings) -> float:
    """Return for how long one is waited for that has been away for so long, as others of this number have been."""
    together = sum(abs(other - seconds) < settings.lost_after_seconds for other in away_seconds)
    are_many = together >= max(2, -(-number // 2))
    return settings.all_lost_after_seconds if are_many else settings.lost_after_seconds

"""What fails together: nodes with the same label, such as those of one zone, and in it those of one rack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from engram_store.shard_map import Node

DOMAIN_LABELS: Final = ("zone", "rack")
"""The labels that name failure domains, the widest first: the same on all nodes, which must place shards alike."""
Domain: TypeAlias = tuple[tuple[str, str], ...]


def domains_of(nodes: Sequence[Node], labels: Sequence[str]) -> list[tuple[Domain, ...]]:
    """Return the domains of each node, from the widest to the narrowest: one for each of `labels`, and the node itself.

    Racks of one name in two zones are two racks. A node without a label is a domain of its own.
    """
    return [_domains_of(node, labels) for node in nodes]


def _domains_of(node: Node, labels: Sequence[str]) -> tuple[Domain, ...]:
    alone = ("", node.id)
    path = [*((node.labels[label], "") if node.labels.get(label) else alone for label in labels), alone]
    return tuple(tuple(path[: depth + 1]) for depth in range(len(path)))

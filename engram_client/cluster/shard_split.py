"""Divides the rows of a fetch among the nodes that are to be asked for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.arrays import Int64Array
    from engram_store.shard_map import ShardedVersion

# Gives each of some groups of shards, with the number of rows wanted of it, the node to ask.
Choose: TypeAlias = Callable[[Mapping[int, int]], Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a fetch for one node: numbers `places` (n,) in it, None for all of them in order."""

    node: int
    rows: Int64Array
    places: Int64Array | None


class ShardLayout:
    """The shards of one version in groups: those of a group have the same holders, and are asked for at the same node.

    A fetch of any size therefore has as many decisions to take as there are groups, not shards.
    """

    def __init__(self, version: ShardedVersion) -> None:
        numbers: dict[tuple[int, ...], int] = {}
        group_of_shard = [numbers.setdefault(shard.holders, len(numbers)) for shard in version.shards]
        self.holders = tuple(numbers)
        """The nodes of each group."""
        self._group_of_shard = np.array(group_of_shard, np.uint16)
        ends = np.array([shard.end_row for shard in version.shards], np.int64)
        self._inner_ends = ends[:-1]
        sizes = np.diff(ends, prepend=0)
        # Shards of one size, but for the last, are found by a division, at a fraction of the cost of searching.
        is_even = bool((sizes[:-1] == sizes[0]).all() and sizes[-1] <= sizes[0])
        self._shard_rows = int(sizes[0]) if is_even else 0

    def groups_of(self, rows: Int64Array) -> NDArray[np.uint16]:
        """Return the group of each row, (n,)."""
        if self._shard_rows:
            shards = np.floor_divide(rows, self._shard_rows)
        else:
            shards = np.searchsorted(self._inner_ends, rows, side="right")
        return self._group_of_shard[shards]

    def split(self, rows: Int64Array, choose: Choose) -> list[Part]:
        """Divide `rows` (n,), n at least 1, among the nodes that are chosen for the groups of which there are rows."""
        if len(self.holders) == 1:
            return [Part(choose({0: len(rows)})[0], rows, None)]
        groups = self.groups_of(rows)
        counts = np.bincount(groups, minlength=len(self.holders))
        chosen = choose({int(group): int(counts[group]) for group in np.flatnonzero(counts)})
        nodes = sorted(set(chosen.values()))
        if len(nodes) == 1:
            return [Part(nodes[0], rows, None)]
        # The place of a node in a short list, not its number: bytes are sorted by counting them.
        place_of_group = np.zeros(len(self.holders), np.uint8 if len(nodes) <= 256 else np.uint16)
        for group, node in chosen.items():
            place_of_group[group] = nodes.index(node)
        places = place_of_group[groups]
        order = np.argsort(places, kind="stable")
        ends = np.cumsum(np.bincount(places, minlength=len(nodes)))
        sorted_rows = rows[order]
        return [
            Part(node, sorted_rows[start:end], order[start:end])
            for node, start, end in zip(nodes, [0, *ends[:-1]], ends, strict=True)
        ]


def places_within(outer: Int64Array | None, inner: Int64Array | None) -> Int64Array | None:
    """Return where the places `inner` of a part lie in the whole, if the part's own are `outer`."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    return outer[inner]

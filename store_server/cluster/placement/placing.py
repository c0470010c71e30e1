"""Which nodes are to hold which shards, while that is being decided."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from store_server.cluster.placement.failure_domains import Domain
from store_server.cluster.placement.node_shares import fair_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

Numbers: TypeAlias = "NDArray[np.int64]"
_SUMS_FIT: Final = 1 << 60
_MORE_THAN_SHARDS: Final = 1 << 32


class Placing:
    """Shards and the nodes chosen for them so far, at most `copies` for each. Both are numbers here, from 0 on.

    Every choice is made by whole numbers and ties fall to the lower number, so that all who begin alike end alike.
    """

    def __init__(
        self,
        *,
        shard_bytes: Sequence[int],
        version_of_shard: Sequence[int],
        capacities: Sequence[int],
        domains: Sequence[tuple[Domain, ...]],
        copies: int,
        may_receive: Sequence[bool],
        found_at: Sequence[Collection[int]],
    ) -> None:
        num_nodes, one_copy = len(capacities), sum(shard_bytes)
        shares = fair_shares(capacities, domains, one_copy, copies)
        # Sums of bytes stay below 2**61: tables of more than that, which do not exist, are counted in larger units.
        self.unit = unit = 1 + one_copy * copies // _SUMS_FIT
        self.copies = copies
        self.shard_bytes: Numbers = np.array([-(-each // unit) for each in shard_bytes], np.int64)
        self.tolerance = int(self.shard_bytes.max(initial=0))
        """How far a node may be from its share: the size of the largest shard."""
        self.capacities: Numbers = np.array([min(each // unit, _SUMS_FIT) for each in capacities], np.int64)
        self.shares: Numbers = np.array([each // unit for each in shares], np.int64)
        self.load: Numbers = np.zeros(num_nodes, np.int64)
        self.may_receive = np.array(may_receive, bool)
        self.nobody = num_nodes
        """Stands in `targets` for a node that is still to be chosen."""
        self.targets: Numbers = np.full((len(shard_bytes), copies), self.nobody, np.int64)
        self._version_of_shard: Numbers = np.array(version_of_shard, np.int64)
        self._found_at = found_at
        self._shards_of_version: Numbers = np.zeros((max(version_of_shard, default=0) + 1, num_nodes + 1), np.int64)
        self._in_common: Numbers = np.zeros((num_nodes + 1, num_nodes + 1), np.int64)
        self._shards_at: list[set[int]] = [set() for _ in range(num_nodes)]
        self._lacking_at: list[set[int]] = [set() for _ in range(num_nodes)]
        self._kept_at: list[frozenset[int]] = [frozenset()] * num_nodes
        self._num_new: Numbers = np.zeros(len(shard_bytes), np.int64)  # nodes of each shard that were only just chosen
        self._domains = _numbered(domains)

    def has_place(self, shard: int) -> bool:
        """Tell whether a node is still to be chosen for a shard."""
        return bool(self.targets[shard, -1] == self.nobody)

    def shards_with_a_place(self) -> list[int]:
        """Return the shards for which nodes are still to be chosen."""
        return [int(shard) for shard in np.flatnonzero(self.targets[:, -1] == self.nobody)]

    def begin_with(self, targets: Numbers, joining: Sequence[Collection[int]] = ()) -> None:
        """Let shards be held as `targets` (shards, copies) says, before anything else is added.

        `joining` are, for each shard, the nodes that do not have it yet.
        """
        for shard, nodes in enumerate(joining):
            for node in nodes:
                if node not in self._found_at[shard]:
                    self._lacking_at[node].add(shard)
        self.targets[:] = targets
        size = np.append(self.load, 0)
        for column in self.targets.T:
            np.add.at(size, column, self.shard_bytes)
            np.add.at(self._shards_of_version, (self._version_of_shard, column), 1)
            for other in self.targets.T:
                np.add.at(self._in_common, (column, other), 1)
        self.load[:] = size[:-1]
        self._in_common[self.nobody] = 0
        self._in_common[:, self.nobody] = 0
        np.fill_diagonal(self._in_common, 0)
        for shard, place in zip(*np.nonzero(self.targets != self.nobody), strict=True):
            self._shards_at[self.targets[shard, place]].add(int(shard))
        self._kept_at = [frozenset(shards) for shards in self._shards_at]

    def add(self, shard: int, node: int) -> None:
        """Let a node hold a shard that has a place."""
        others = self.chosen(shard)
        self.targets[shard, len(others)] = node
        self._shards_at[node].add(shard)
        self._num_new[shard] += shard not in self._kept_at[node]
        self._count(shard, node, others, 1)

    def remove(self, shard: int, node: int) -> None:
        """Let a node no longer hold a shard."""
        others = self.chosen(shard)
        others = others[others != node]
        self.targets[shard] = self.nobody
        self.targets[shard, : len(others)] = others
        self._shards_at[node].remove(shard)
        self._num_new[shard] -= shard not in self._kept_at[node]
        self._count(shard, node, others, -1)

    def shards_to_give(self, node: int) -> list[int]:
        """Return the shards that a node is to hold, those first that it does not have yet."""
        return sorted(self._shards_at[node], key=lambda shard: (shard not in self._lacking_at[node], shard))

    def chosen(self, shard: int) -> Numbers:
        """Return the nodes chosen for a shard, a copy."""
        nodes: Numbers = self.targets[shard]
        return nodes.compress(nodes != self.nobody)

    def nearness(self, shard: int, node: int) -> int:
        """Tell how near a node is to the others of a shard: 0 if they share no failure domain, more for wider ones."""
        others = self.targets[shard]
        others = others[(others != node) & (others != self.nobody)]
        return int(self._nearness_of(np.array([node]), others)[0])

    def best_node(self, shard: int) -> int | None:
        """Return the node to add to a shard, None if no node has room for it.

        That is one that is least near to the others of the shard; that has it already and has not its share; else that
        lacks most of its share, about; and among those one with few shards of this version, and few in common with the
        others of the shard, so that the shards of a lost node are restored by many.
        """
        size, others = self.shard_bytes[shard], self.chosen(shard)
        fits = self.may_receive & (self.capacities - self.load >= size)
        fits[others] = False
        nodes = np.flatnonzero(fits)
        if not len(nodes):
            return None
        if self._domains and len(others):
            near = self._nearness_of(nodes, others)
            nodes = nodes[near == near.min()]
        lacks = (self.shares - self.load)[nodes]
        if self._found_at[shard]:
            has_it = np.isin(nodes, list(self._found_at[shard])) & (lacks + self.tolerance >= size)
            if has_it.any():
                nodes, lacks = nodes[has_it], lacks[has_it]
        about = lacks.max() - (size + 1) // 2
        if lacks.max() > self.tolerance:  # who lacks so much gets another shard in any case: let it be this one
            about = max(about, self.tolerance)
        nodes = nodes[lacks > about]
        return int(nodes[self._crowding(shard, nodes, others).argmin()])

    def has_new(self, node: int) -> bool:
        """Tell whether a node was only just chosen for some shard."""
        return not self._shards_at[node] <= self._kept_at[node]

    def shard_to_move(self, giver: int, receiver: int, less_than: int, *, only_new: bool = False) -> int | None:
        """Return the shard that can best go from one node to another, of fewer than `less_than` bytes, or None.

        With `only_new` it is one that the giver was only just chosen for.

        It fits, brings the receiver no nearer to the others of the shard than the giver was, and is one that need not
        be copied for that if there is one: since the receiver has it, or the giver was only just chosen. Among those it
        is preferred for the same reasons as a node is by `best_node`; and, if there are several, one whose other nodes
        stay: two new nodes that share a shard leave less to choose from when one of them goes.
        """
        sizes, targets = self.shard_bytes, self.targets
        kept = self._kept_at[giver]
        here = self._shards_at[giver] - kept if only_new else self._shards_at[giver]
        shards = np.array(sorted(here - self._shards_at[receiver]), np.int64)
        room = self.capacities[receiver] - self.load[receiver]
        shards = shards[(sizes[shards] < less_than) & (sizes[shards] <= room)]
        shards = shards[self._is_no_nearer(shards, giver, receiver)]
        if not len(shards):
            return None
        is_free = np.array([receiver in self._found_at[shard] or shard not in kept for shard in shards.tolist()])
        if is_free.any():
            shards = shards[is_free]
        versions = self._version_of_shard[shards]
        crowding = self._shards_of_version[versions, receiver] - self._shards_of_version[versions, giver]
        in_common = self._in_common[receiver][targets[shards]].sum(axis=1)  # with `giver` too, the same for all of them
        reasons = (crowding * _MORE_THAN_SHARDS + in_common) * (self.copies + 1) + self._num_new[shards]
        return int(shards[reasons.argmin()])

    def crowded_shards(self) -> Numbers:
        """Return the shards of which two nodes share a failure domain."""
        crowded = np.zeros(len(self.targets), bool)
        for domain in self._domains:
            of_target = np.sort(np.append(domain, -1)[self.targets], axis=1)
            crowded |= ((of_target[:, 1:] == of_target[:, :-1]) & (of_target[:, 1:] >= 0)).any(axis=1)
        return np.flatnonzero(crowded)

    def _count(self, shard: int, node: int, others: Numbers, by: int) -> None:
        self.load[node] += by * self.shard_bytes[shard]
        self._shards_of_version[self._version_of_shard[shard], node] += by
        self._in_common[node, others] += by
        self._in_common[others, node] += by

    def _crowding(self, shard: int, nodes: Numbers, others: Numbers) -> Numbers:
        crowding: Numbers = self._shards_of_version[self._version_of_shard[shard]].take(nodes)
        crowding *= _MORE_THAN_SHARDS
        for other in others:
            crowding += self._in_common[other].take(nodes)
        return crowding

    def _nearness_of(self, nodes: Numbers, others: Numbers) -> Numbers:
        near: Numbers = np.zeros(len(nodes), np.int64)
        for domain in self._domains:
            near *= self.copies
            for other in others:
                near += domain[nodes] == domain[other]
        return near

    def _is_no_nearer(self, shards: Numbers, giver: int, receiver: int) -> NDArray[np.bool_]:
        """Tell of each shard of `giver` whether `receiver` is no nearer to its other nodes than `giver` is."""
        targets = self.targets[shards]
        nearer: Numbers = np.zeros(len(shards), np.int64)
        for domain in self._domains:
            of_target = np.where(targets == giver, -1, np.append(domain, -1)[targets])
            nearer *= self.copies
            nearer += (of_target == domain[receiver]).sum(axis=1) - (of_target == domain[giver]).sum(axis=1)
        return nearer <= 0


def _numbered(domains: Sequence[tuple[Domain, ...]]) -> list[Numbers]:
    """Return a number for the domain of each node, (nodes,), for those labels by which any two nodes are together."""
    levels = []
    for level in list(zip(*domains, strict=True))[:-1]:
        numbers: dict[Domain, int] = {}
        numbered = np.array([numbers.setdefault(domain, len(numbers)) for domain in level], np.int64)
        if len(numbers) < len(level):
            levels.append(numbered)
    return levels

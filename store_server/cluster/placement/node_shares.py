"""How much each node should hold: by what it can hold, and no more than its failure domain may have of each shard."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from store_server.cluster.placement.failure_domains import Domain


def capacities_of(stated: Sequence[int], usable: Sequence[int], most: int, largest_shard: int) -> list[int]:
    """Return the bytes that each of the `usable` nodes (places in `stated`) can hold, at least 1; 0 says nothing.

    A node that says nothing can hold as many as the others on average, and besides, what of `most` bytes has no place
    with those that say how much they can hold. For that may be a disk that takes no more just now, and its room is no
    measure of anybody else's. If nobody says, each can hold all.
    """
    known = [each for each in stated if each > 0]
    if not known:
        return [max(1, most)] * len(usable)
    left = most - sum(stated[place] for place in usable)
    num_silent = sum(not stated[place] for place in usable)
    share = -(-left // num_silent) + largest_shard if num_silent and left > 0 else 0
    return [stated[place] or max(sum(known) // len(known), share) for place in usable]


def fair_shares(
    capacities: Sequence[int], domains: Sequence[tuple[Domain, ...]], one_copy: int, copies: int
) -> list[int]:
    """Return the bytes that each node should hold of `copies` copies of `one_copy` bytes, in proportion to capacities.

    No domain gets more than it may hold if copies are spread over as many domains as can be: with three zones and three
    copies each zone gets one, whatever its capacity, if it has room for it. Whole numbers throughout, so that all nodes
    compute the same. What fits nowhere is in nobody's share.
    """
    shares = [0] * len(capacities)

    def divide(members: list[int], depth: int, amount: int, copies: int) -> None:
        members.sort(key=lambda node: domains[node][depth])
        groups = [list(group) for _, group in groupby(members, key=lambda node: domains[node][depth])]
        room = [sum(min(capacities[node], one_copy) for node in group) for group in groups]
        allowed = _copies_allowed(groups, room, one_copy, amount, copies)
        limits = [min(space, most * one_copy) for space, most in zip(room, allowed, strict=True)]
        weights = [sum(capacities[node] for node in group) for group in groups]
        for group, part, most in zip(groups, _in_proportion(amount, weights, limits), allowed, strict=True):
            if depth + 1 == len(domains[group[0]]):
                shares[group[0]] = part
            else:
                divide(group, depth + 1, part, most)

    if capacities:
        divide(list(range(len(capacities))), 0, one_copy * copies, copies)
    return shares


def _copies_allowed(groups: list[list[int]], room: list[int], one_copy: int, amount: int, copies: int) -> list[int]:
    """Return how many copies of a shard each domain may have: as evenly many as nodes and memory allow."""
    for most in range(1, copies + 1):
        allowed = [min(most, len(group)) for group in groups]
        space = sum(min(free, limit * one_copy) for free, limit in zip(room, allowed, strict=True))
        if sum(allowed) >= copies and space >= amount:
            return allowed
    return [min(copies, len(group)) for group in groups]


def _in_proportion(amount: int, weights: list[int], limits: list[int]) -> list[int]:
    """Return `amount` divided in proportion to `weights`, nobody above his limit; the others take the rest."""
    parts = list(limits)
    below = list(range(len(weights)))
    while below:
        weight = sum(weights[i] for i in below)
        full = [i for i in below if amount * weights[i] >= limits[i] * weight]
        if not full:
            break
        amount -= sum(limits[i] for i in full)
        below = [i for i in below if i not in set(full)]
    for i in below:
        parts[i] = amount * weights[i] // weight
    return parts

"""Moves of shards that make a placing better: off full nodes, out of shared failure domains, to nodes with few."""

from __future__ import annotations

import numpy as np

from store_server.cluster.placement.placing import Placing


def settle(placing: Placing) -> int:
    """Make all moves that are needed, and no others; returns how many.

    Each leaves fewer bytes above a node's capacity; or as many there and fewer nodes of a shard in one failure domain;
    or as many of both and two nodes closer to their shares. That is why moving comes to an end, also over many calls.
    """
    return _relieve(placing) + _part(placing) + _level(placing)


def _relieve(placing: Placing) -> int:
    """Move shards off nodes that hold more than they can."""
    moves = 0
    for giver in np.flatnonzero(placing.load > placing.capacities):
        for shard in placing.shards_to_give(int(giver)):
            if placing.load[giver] <= placing.capacities[giver]:
                break
            moves += _replace(placing, shard, int(giver))
    return moves


def _part(placing: Placing) -> int:
    """Move nodes of one shard that share a failure domain apart, where there is room elsewhere."""
    moves = 0
    for shard in placing.crowded_shards():
        for node in sorted(placing.chosen(shard), key=lambda node: -placing.nearness(shard, node)):
            moves += _replace(placing, int(shard), int(node), nearer_than=placing.nearness(shard, node))
    return moves


def _replace(placing: Placing, shard: int, node: int, nearer_than: int | None = None) -> int:
    """Put another node in the place of one, if one has room and is less near to the others; returns 1 if it did."""
    placing.remove(shard, node)
    better = placing.best_node(shard)
    if better is not None and nearer_than is not None and placing.nearness(shard, better) >= nearer_than:
        better = None
    placing.add(shard, node if better is None else better)
    return int(better not in (None, node))


def _level(placing: Placing) -> int:
    """Move shards from nodes above their share to nodes below it, until all are as near to it as the largest shard."""
    moves = 0
    stuck = np.zeros(len(placing.load), bool)
    while True:
        over = placing.load - placing.shares
        wrong = np.where((over < 0) & ~placing.may_receive, 0, abs(over)) - placing.tolerance
        wrong[stuck] = 0
        worst = int(wrong.argmax())
        if wrong[worst] <= 0:
            return moves
        if _give(placing, worst) if over[worst] > 0 else _take(placing, worst):
            moves += 1
        else:
            stuck[worst] = True


def _give(placing: Placing, giver: int) -> bool:
    over = placing.load - placing.shares
    receivers = [int(node) for node in over.argsort(kind="stable") if placing.may_receive[node]]
    return any(
        _move(placing, giver, receiver, int(over[giver] - over[receiver]), only_new=only_new)
        for only_new in (True, False)
        if placing.has_new(giver) or not only_new
        for receiver in receivers
    )


def _take(placing: Placing, receiver: int) -> bool:
    over = placing.load - placing.shares
    givers = [int(node) for node in (-over).argsort(kind="stable")]
    return any(
        _move(placing, giver, receiver, int(over[giver] - over[receiver]), only_new=only_new)
        for only_new in (True, False)
        for giver in givers
        if placing.has_new(giver) or not only_new
    )


def _move(placing: Placing, giver: int, receiver: int, gap: int, *, only_new: bool) -> bool:
    """Move a shard smaller than the gap between two nodes: then neither ends further from its share than one was.

    First it is tried with whomever there is to move one that a node was only just chosen for: nothing is copied then.
    """
    shard = placing.shard_to_move(giver, receiver, less_than=gap, only_new=only_new) if gap > 0 else None
    if shard is None:
        return False
    placing.remove(shard, giver)
    placing.add(shard, receiver)
    return True

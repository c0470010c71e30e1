"""Which replica to ask: the one that should answer first, and few nodes for one fetch."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from engram_client.cluster.latency import units
from engram_client.errors import Unavailable

_NEARLY_EQUAL: Final = 2.0  # times the seconds of the best: so much may be chance where a few answers were measured
_ANOTHER_REQUEST: Final = 1.0  # units of work, besides the rows in it


class Standing(NamedTuple):
    """How a node stands: whether it is worth asking, units of work it has, and seconds that it takes for each.

    And whether it is draining: it answers, and is about to leave or to stop; whether it may get one more request; and
    whether it has lately refused rows of the version.
    """

    is_ready: bool
    work_under_way: float
    seconds_a_unit: float
    is_draining: bool = False
    has_room: bool = True
    has_refused: bool = False


def choose(
    rows_of_group: Mapping[int, int],
    *,
    holders: Sequence[Sequence[int]],
    row_bytes: int,
    standing: Callable[[int], Standing],
    dice: random.Random,
    avoided: Collection[int] = (),
) -> dict[int, int]:
    """Return the node to ask for each group of shards, given its rows; `holders` are the nodes of each group.

    The largest group first, each at the holder that would be done with it soonest: after the work that it has, of this
    fetch too, at the rate at which it answers. A node more costs a request more, so that few rows go to few nodes.
    Nodes that have no room are asked only where there is no other, those that are draining only where there are not
    even such, then those that have refused, those that are not ready, and avoided ones last.
    Of those that are nearly equal any is asked: the best by a little would get all, and nothing be learnt of others.
    Raises Unavailable if a group has no holders.
    """
    if not all(holders[group] for group in rows_of_group):
        num_rows = sum(rows for group, rows in rows_of_group.items() if not holders[group])
        raise Unavailable(f"nobody holds {num_rows} of the rows by the shard map")
    chosen: dict[int, int] = {}
    work_of_fetch: dict[int, float] = {}

    def cost(number: int) -> tuple[tuple[bool, ...], float]:
        node = standing(number)
        seconds = (node.work_under_way + work_of_fetch.get(number, _ANOTHER_REQUEST) + work) * node.seconds_a_unit
        last_resort = (number in avoided, not node.is_ready, node.has_refused, node.is_draining, not node.has_room)
        return last_resort, seconds * dice.uniform(1.0, _NEARLY_EQUAL)

    for group in sorted(rows_of_group, key=lambda group: -rows_of_group[group]):
        work = units(rows_of_group[group] * row_bytes) - _ANOTHER_REQUEST
        best = holders[group][0] if len(holders[group]) == 1 else min(holders[group], key=cost)
        chosen[group] = best
        work_of_fetch[best] = work_of_fetch.get(best, 0.0) + work
    return chosen

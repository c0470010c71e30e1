"""How many nodes a workload needs: the most that any of memory, disk, network, rows, copies and losses asks for."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.commands.failure import CommandFailed
from store_server.commands.plan.node_use import HELD, SERVED, use_of_node

if TYPE_CHECKING:
    from collections.abc import Collection

    from store_server.commands.plan.node_use import Copies, NodeKind, NodeUse
    from store_server.commands.plan.workload import Workload

# What the shard map is made for, and what placement was simulated with.
MOST_NODES: Final = 1000
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the nodes must bear, and with how much to spare."""

    workload: Workload
    node: NodeKind
    copies: Copies
    most_used: float
    """The largest share of memory, disk, network and rows/s that is used while all nodes are there."""
    domains: int | None = None
    """Failure domains, over which the nodes are spread evenly; None plans without them."""

    def use(self, num_nodes: int) -> NodeUse:
        """Return what each of so many nodes bears."""
        return use_of_node(self.workload, self.copies, num_nodes)

    def shares(self, num_nodes: int) -> dict[str, float]:
        """Return which share of each resource is used on so many nodes."""
        return self.use(num_nodes).shares(self.node)

    def lost_with_domain(self, num_nodes: int) -> int:
        """Return the nodes that are gone when the largest failure domain is."""
        return math.ceil(num_nodes / self.domains) if self.domains else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The nodes that each demand asks for, by its name, and so how many it takes."""

    terms: Terms
    demands: dict[str, int]

    @property
    def num_nodes(self) -> int:
        """As many as the greatest demand."""
        return max(self.demands.values())

    @property
    def limits(self) -> list[str]:
        """The demands that ask for that many."""
        return [name for name, number in self.demands.items() if number == self.num_nodes]


def plan_for(terms: Terms) -> Plan:
    """Return how many nodes the terms ask for; raises CommandFailed above MOST_NODES."""
    demands = {name: _fewest_nodes(terms, [name], terms.most_used) for name in (*HELD, *SERVED)}
    demands["replicas"] = terms.copies.replicas
    if terms.domains:
        demands["domains"] = terms.domains
    if terms.copies.replicas > 1:  # where there is one copy, a loss is not borne by any number
        demands["one node lost"] = _fewest_nodes(terms, [*HELD, *SERVED], 1.0) + 1
        if terms.domains:
            demands["one domain lost"] = _nodes_that_leave(terms, _fewest_nodes(terms, SERVED, 1.0))
    for name, number in demands.items():
        if number > MOST_NODES:
            raise CommandFailed(_too_many(terms, name))
    return Plan(terms, demands)


def _too_many(terms: Terms, name: str) -> str:
    """Say that no number of nodes is enough, and of which reason if it is that all of them are asked each time."""
    message = f"{name}: more than {MOST_NODES:,} nodes, the most that a cluster is made for, would be needed"
    use = terms.use(MOST_NODES)
    busy = terms.node.cost.of(use.requests_per_second, 0)
    if name in (*HELD, "network") or busy <= terms.most_used:
        return f"{message}; take larger nodes, or plan several clusters"
    return (
        f"{message}. A fetch is split over all nodes, into single rows if need be: {use.requests_per_second:,.0f} "
        f"requests/s x {terms.node.cost.request_seconds * 1e6:.4g} us keep each {busy:.2f} busy, at most "
        f"{terms.most_used:g} is used. Look up more tokens together (--call-tokens), or plan several clusters"
    )


def _fewest_nodes(terms: Terms, names: Collection[str], most_used: float) -> int:
    """Return the fewest nodes of which none of the resources `names` is used above `most_used`; too many if none do."""

    def suffices(num_nodes: int) -> bool:
        shares = terms.shares(num_nodes)
        return all(shares[name] <= most_used + _ROUNDING for name in names)

    return bisect.bisect_left(range(1, MOST_NODES + 1), x=True, key=suffices) + 1


def _nodes_that_leave(terms: Terms, num_left: int) -> int:
    """Return the fewest nodes of which `num_left` are left without the largest failure domain."""
    numbers = range(1, 2 * MOST_NODES + 2)
    return bisect.bisect_left(numbers, num_left, key=lambda number: number - terms.lost_with_domain(number)) + 1

"""The nodes of the next map: those of the map that is known, as they say of themselves now, and those that are new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from engram_store.shard_map import Node
from store_server.cluster.registration import NodeRegistration


class Members(NamedTuple):
    """Nodes, those of the known map at their old places, and the registrations of the live ones by id."""

    nodes: tuple[Node, ...]
    live: dict[str, NodeRegistration]
    complaints: tuple[str, ...]

    @property
    def left(self) -> set[str]:
        """The ids of nodes that were to leave and have stopped."""
        return {node.id for node in self.nodes if node.draining and node.id not in self.live}


def next_members(known: Sequence[Node], registrations: Iterable[NodeRegistration]) -> Members:
    """Return the nodes of the next map. Of two live nodes with one id or one address, the one in the map stays.

    Whether a node is draining the map alone says, where somebody has written it: the node itself may not know it yet.
    """
    addresses = {node.id: node.address for node in known}
    complaints: list[str] = []
    live: dict[str, NodeRegistration] = {}
    for each in sorted(registrations, key=lambda each: _turn(each, addresses)):
        node = each.node
        if not node.id or not node.address:
            complaints.append(f"a node without id or address registers: id {node.id!r}, address {node.address!r}")
        elif (first := live.setdefault(node.id, each)) is not each:
            complaints.append(
                f"two nodes have the id {node.id!r}: the one at {first.node.address} counts, the one at {node.address} "
                "does not; give it another id"
            )
    known_now = _known_now(known, live, complaints)
    return Members((*known_now, *_new(known_now, live, complaints)), live, tuple(complaints))


def _turn(each: NodeRegistration, addresses: dict[str, str]) -> tuple[str, bool, str, str]:
    """Sort by id, and of one id what is in the map before anything else."""
    node = each.node
    return node.id, node.address != addresses.get(node.id), node.address, each.incarnation


def _known_now(known: Sequence[Node], live: dict[str, NodeRegistration], complaints: list[str]) -> list[Node]:
    """Return the known nodes as they are now. An address that another node has is not taken over."""
    now = [replace(live[node.id].node, draining=node.draining) if node.id in live else node for node in known]
    while taken := _twice([node.address for node in now]):
        for place, (before, node) in enumerate(zip(known, now, strict=True)):
            if node.address in taken and node.address != before.address:
                complaints.append(_taken(node))
                now[place] = replace(node, address=before.address)
    return now


def _new(known: Sequence[Node], live: dict[str, NodeRegistration], complaints: list[str]) -> list[Node]:
    ids, addresses = {node.id for node in known}, {node.address for node in known}
    new = []
    for id_ in sorted(live.keys() - ids):
        node = live[id_].node
        if node.address in addresses:
            complaints.append(_taken(node))
            del live[id_]
        else:
            addresses.add(node.address)
            new.append(replace(node, draining=False))
    return new


def _taken(node: Node) -> str:
    return (
        f"node {node.id!r} registers at {node.address}, which is the address of another node of the map; it "
        "needs its own, or waits until the other is lost"
    )


def _twice(names: list[str]) -> set[str]:
    return {name for name, times in Counter(names).items() if times > 1}

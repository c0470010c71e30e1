"""What a node has, and what a workload takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.commands.plan.messages import traffic_of

if TYPE_CHECKING:
    from store_server.commands.plan.node_rate import Cost
    from store_server.commands.plan.workload import Workload

HELD: Final = ("memory", "disk")
SERVED: Final = ("network", "rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKind:
    """What each node has. All nodes are alike."""

    cost: Cost
    """What lookups cost it; one that is busy all the time serves the most it can."""
    network_bits_per_second: float
    """Each way."""
    memory_bytes: float
    disk_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """How often the rows are held: `replicas` nodes have each row, and each of them `versions` of it on disk."""

    replicas: int
    versions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUse:
    """What is taken of each node when the rows and the lookups are spread evenly."""

    memory_bytes: float
    disk_bytes: float
    rows_per_second: float
    requests_per_second: float
    received_bits_per_second: float
    sent_bits_per_second: float

    def shares(self, node: NodeKind) -> dict[str, float]:
        """Return the share of each resource that is taken; of the network, of the busier way."""
        busier = max(self.received_bits_per_second, self.sent_bits_per_second)
        return {
            "memory": self.memory_bytes / node.memory_bytes,
            "disk": self.disk_bytes / node.disk_bytes,
            "network": busier / node.network_bits_per_second,
            "rows": node.cost.of(self.requests_per_second, self.rows_per_second),
        }


def use_of_node(workload: Workload, copies: Copies, num_nodes: int) -> NodeUse:
    """Return what each of `num_nodes` nodes must bear; on fewer nodes than replicas, each holds every row."""
    traffic = traffic_of(workload, num_nodes)
    held_bytes = workload.model.table_bytes * min(copies.replicas, num_nodes) / num_nodes
    return NodeUse(
        memory_bytes=held_bytes,
        disk_bytes=held_bytes * copies.versions,
        rows_per_second=workload.rows_per_second / num_nodes,
        requests_per_second=traffic.requests_per_second / num_nodes,
        received_bits_per_second=traffic.received_bits_per_second / num_nodes,
        sent_bits_per_second=traffic.sent_bits_per_second / num_nodes,
    )

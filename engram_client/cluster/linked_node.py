"""One node as the cluster's client sees it: the way there, what is under way, how it did lately."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from engram_client.cluster.latency import NodeLatency
from engram_client.cluster.node_health import NodeHealth
from engram_client.cluster.refusals import Refusals

if TYPE_CHECKING:
    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.table_info import TableInfo
    from engram_store.v1.cluster_service_pb2 import GetShardMapResponse

_MOST_TRIAL_BYTES: Final = 1 << 20


class NodeLink(Protocol):
    """The way to one node, without retries of its own: NodeTransport, or a fake."""

    @property
    def draining(self) -> bool:
        """Whether the node said last that it is about to stop."""
        ...

    async def get_shard_map(self, known_epoch: int, timeout: float) -> GetShardMapResponse:
        """Return what the node knows of its cluster."""
        ...

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the tables of the node."""
        ...

    async def fetch(
        self,
        table: TableInfo,
        rows: Int64Array,
        out: Uint8Array,
        timeout: float,
        *,
        places: Int64Array | None = None,
    ) -> None:
        """Put `rows` (n,) into out[places]; see GrpcTransport.fetch."""
        ...

    async def close(self) -> None:
        """Let go of everything; what is under way fails with StoreClosed."""
        ...


class LinkedNode:
    """A node's link and what this client remembers of it."""

    def __init__(self, node_id: str, address: str, link: NodeLink) -> None:
        self.id = node_id
        self.address = address
        self.link = link
        self.health = NodeHealth()
        self.latency = NodeLatency()
        self.refusals = Refusals()
        self.is_leaving = False
        """Whether it is about to leave the cluster, by the map."""
        self.is_stopping = False
        """Whether it has announced its stop, and has not come back since; see Trials.heard."""
        self.is_watched = False
        """Whether somebody looks for its return since it announced a stop."""
        self.answered_at = -math.inf
        """When it last answered a fetch, by the loop's clock."""
        self.work_under_way = 0.0
        self.requests_under_way = 0
        self.last_asked: tuple[TableInfo, Int64Array] | None = None
        """A table and some rows of it that the node holds: what to try it with."""

    def will_be_asked(self, table: TableInfo, rows: Int64Array) -> None:
        """Remember a few of the rows: a copy, as they are a part of what the caller may soon overwrite."""
        self.last_asked = (table, rows[: max(1, _MOST_TRIAL_BYTES // table.row_bytes)].copy())

    @property
    def is_draining(self) -> bool:
        """Whether it answers still, and is to be spared."""
        return self.is_leaving or self.is_stopping

    @property
    def has_room(self) -> bool:
        """Whether it may get one more request before others do: one that has just returned is not to be swamped."""
        return self.requests_under_way < self.health.most_requests

    @property
    def is_free(self) -> bool:
        """Whether it is worth asking for what need not be asked."""
        return self.is_sought and self.has_room

    @property
    def is_sought(self) -> bool:
        """Whether it is as good as any other to ask."""
        return self.health.ready and not self.is_draining


class Load:
    """A request that is counted as under way at a node, from now until `end`, which may be called again."""

    def __init__(self, node: LinkedNode, work: float) -> None:
        self._node = node
        self._work = work
        self._requests = 1
        node.work_under_way += work
        node.requests_under_way += 1

    def end(self) -> None:
        """Count it no more."""
        self._node.work_under_way -= self._work
        self._node.requests_under_way -= self._requests
        self._work, self._requests = 0.0, 0


@dataclass(frozen=True, slots=True)
class NodePart:
    """The rows of a fetch that one node is to be asked for: numbers `places` (n,) of it, None for all in order."""

    node: LinkedNode
    rows: Int64Array
    places: Int64Array | None
    work: float
    """Units of work in it."""

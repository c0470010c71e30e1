"""What two looks come to: a line for each node, and one for each table of all nodes together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from store_server.commands.top.latencies import Between, Latencies
from store_server.commands.top.traffic import Traffic, rate, seconds_between, summed, traffic_by_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engram_store.v1.admin_service_pb2 import GetStatusResponse, LimitStatus, TableStatus
    from store_server.commands.top.sight import Look, SeenNode


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """One node, all its workers together. What cannot be told is None."""

    name: str
    address: str
    state: str
    failure: str
    """Why one of its processes, or all, do not answer; "" if all do."""
    version: str
    answering: int
    """Processes that answer, of so many `processes`."""
    processes: int
    uptime_seconds: float | None
    traffic: Traffic | None
    p50: Between | None
    p99: Between | None
    failed: float | None
    """Lookups a second, as `refused`."""
    refused: float | None
    queued: int
    in_flight_bytes: int
    connections: int
    streams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLine:
    """One table, of all nodes that answer."""

    name: str
    versions: Sequence[str]
    """More than one while nodes change over."""
    num_rows: int
    num_bytes: int
    resident_bytes: int
    """What is in RAM, on all nodes together."""
    written_at_ns: int
    """When the newest copy of its version came; 0 if that is not known."""
    traffic: Traffic | None
    not_served_by: Sequence[str]
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All there is to show."""

    cluster: str
    epoch: int
    nodes: Sequence[NodeLine]
    tables: Sequence[TableLine]


def picture_of(before: Look, now: Look) -> Picture:
    """Put two looks together, of which the first was earlier."""
    earlier = {process.address: process.status for node in before.nodes for process in node.processes}
    statuses = [status for node in now.nodes for status in node.statuses()]
    newest = max(statuses, key=lambda status: status.map_epoch, default=None)
    return Picture(
        cluster="" if newest is None else newest.cluster_id,
        epoch=0 if newest is None else newest.map_epoch,
        nodes=[_node_line(node, earlier) for node in now.nodes],
        tables=[_table_line(name, now.nodes, earlier) for name in sorted(_names(statuses))],
    )


def _node_line(node: SeenNode, earlier: Mapping[str, GetStatusResponse | None]) -> NodeLine:
    pairs = [(earlier.get(process.address), process.status) for process in node.processes]
    statuses = list(node.statuses())
    latencies = Latencies()
    for pair in pairs:
        latencies.add(*pair)
    return NodeLine(
        name=node.name,
        address=node.address,
        state=_state(statuses),
        failure=node.failure,
        version=", ".join(sorted({status.program_version for status in statuses})),
        answering=node.answering,
        processes=len(node.processes),
        uptime_seconds=min((status.uptime_seconds for status in statuses), default=None),
        traffic=summed(part for pair in pairs for part in traffic_by_table(*pair).values()),
        p50=latencies.percentile(50),
        p99=latencies.percentile(99),
        failed=_sum_of_rates(pairs, "failed"),
        refused=_sum_of_rates(pairs, "refused"),
        queued=sum(_limit(status, "max-queued").taken for status in statuses),
        in_flight_bytes=sum(_limit(status, "max-in-flight-bytes").taken for status in statuses),
        connections=sum(status.connections for status in statuses),
        streams=sum(status.streams for status in statuses),
    )


def _state(statuses: Sequence[GetStatusResponse]) -> str:
    if not statuses:
        return "no answer"
    if any(status.draining for status in statuses):
        return "drained" if all(status.quiet for status in statuses) else "draining"
    return "ready" if all(status.ready for status in statuses) else "not ready"


def _sum_of_rates(
    pairs: Iterable[tuple[GetStatusResponse | None, GetStatusResponse | None]], counters: str
) -> float | None:
    found = []
    for before, now in pairs:
        seconds = seconds_between(before, now)
        if seconds is not None:
            earlier, later = (sum(getattr(status, counters).values()) for status in (before, now))
            found.append(rate(earlier, later, seconds))
    known = [each for each in found if each is not None]
    return sum(known) if known else None


def _limit(status: GetStatusResponse, name: str) -> LimitStatus:
    return status.limits[name]  # an empty one where the node has none


def _names(statuses: Iterable[GetStatusResponse]) -> set[str]:
    return {table.name for status in statuses for table in status.tables}


def _table_line(name: str, nodes: Sequence[SeenNode], earlier: Mapping[str, GetStatusResponse | None]) -> TableLine:
    on_nodes = {node.name: found for node in nodes if (found := list(_of_table(node, name)))}
    everywhere = [table for found in on_nodes.values() for table in found]
    parts = [
        traffic_by_table(earlier.get(process.address), process.status).get(name)
        for node in nodes
        for process in node.processes
    ]
    return TableLine(
        name=name,
        versions=sorted({table.version for table in everywhere}),
        num_rows=max(table.num_rows for table in everywhere),
        num_bytes=max(table.num_bytes for table in everywhere),
        # Workers of a node share what is in RAM.
        resident_bytes=sum(max(table.resident_bytes for table in found) for found in on_nodes.values()),
        written_at_ns=max(table.written_at_ns for table in everywhere),
        traffic=summed(parts),
        not_served_by=[node for node, found in on_nodes.items() if not all(table.served for table in found)],
        quarantined=len({version for table in everywhere for version in table.quarantined}),
    )


def _of_table(node: SeenNode, name: str) -> Iterator[TableStatus]:
    return (table for status in node.statuses() for table in status.tables if table.name == name)

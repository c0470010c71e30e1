"""Nodes and tables as columns of text, of which those that matter least are left out where there is no room."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from store_server.commands.top.latencies import Between
    from store_server.commands.top.picture import NodeLine, Picture, TableLine
    from store_server.commands.top.traffic import Traffic

GAP: Final = 2
_UNKNOWN: Final = "-"
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`rank` 0 is never left out; of the others the highest goes first."""

    head: str
    cells: Sequence[str]
    rank: int = 0
    is_text: bool = False

    @property
    def width(self) -> int:
        """How many characters its widest cell has."""
        return max(map(len, (self.head, *self.cells)))


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns that there is room for."""
    kept = list(columns)
    while sum(column.width + GAP for column in kept) - GAP > width:
        last = max(kept, key=lambda column: column.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


def node_columns(nodes: Sequence[NodeLine]) -> list[Column]:
    """Return what is shown of nodes."""

    def of(head: str, rank: int, text: Callable[[NodeLine], str]) -> Column:
        return Column(head=head, cells=[text(node) for node in nodes], rank=rank)

    return [
        Column(head="node", cells=[node.name for node in nodes], is_text=True),
        Column(head="state", cells=[_state(node) for node in nodes], is_text=True),
        of("rows/s", 0, lambda node: _rate(None if node.traffic is None else node.traffic.rows)),
        of("MB/s", 6, lambda node: _megabytes(node.traffic)),
        of("lookups/s", 3, lambda node: _rate(None if node.traffic is None else node.traffic.lookups)),
        of("disk", 4, lambda node: _share(node.traffic)),
        of("p50 ms", 5, lambda node: between_text(node.p50)),
        of("p99 ms", 1, lambda node: between_text(node.p99)),
        of("failed/s", 2, lambda node: _rate(node.failed)),
        of("refused/s", 2, lambda node: _rate(node.refused)),
        of("queued", 7, lambda node: _number(node, node.queued)),
        of("in flight", 8, lambda node: _bytes(node, node.in_flight_bytes)),
        of("conns", 9, lambda node: _number(node, node.connections)),
        of("streams", 10, lambda node: _number(node, node.streams)),
        of("up", 11, lambda node: _UNKNOWN if node.uptime_seconds is None else duration_text(node.uptime_seconds)),
        of("version", 12, lambda node: node.version or _UNKNOWN),
    ]


def table_columns(tables: Sequence[TableLine]) -> list[Column]:
    """Return what is shown of tables."""

    def of(head: str, rank: int, text: Callable[[TableLine], str]) -> Column:
        return Column(head=head, cells=[text(table) for table in tables], rank=rank)

    return [
        Column(head="table", cells=[table.name for table in tables], is_text=True),
        Column(head="state", cells=[_table_state(table) for table in tables], is_text=True),
        of("rows/s", 0, lambda table: _rate(None if table.traffic is None else table.traffic.rows)),
        of("MB/s", 4, lambda table: _megabytes(table.traffic)),
        of("lookups/s", 2, lambda table: _rate(None if table.traffic is None else table.traffic.lookups)),
        of("disk", 3, lambda table: _share(table.traffic)),
        of("rows", 7, lambda table: f"{table.num_rows:,}"),
        of("size", 5, lambda table: size_text(table.num_bytes)),
        of("in RAM", 1, lambda table: size_text(table.resident_bytes)),
        of("age", 6, lambda table: _age(table)),
        of("version", 8, lambda table: " ".join(version[:12] or "?" for version in table.versions)),
    ]


def title_of(picture: Picture) -> str:
    """Return what all of it is, in a line."""
    silent = sum(node.answering == 0 for node in picture.nodes)
    count = len(picture.nodes)
    parts = [f"{count} node{'s' if count > 1 else ''}{f', {silent} without an answer' if silent else ''}"]
    if picture.cluster or picture.epoch:
        parts.append(f"cluster {picture.cluster}, map of epoch {picture.epoch}")
    return "  ".join((time.strftime("%H:%M:%S"), *parts))


def failures_of(picture: Picture) -> list[str]:
    """Return why nodes, or workers of theirs, do not answer: a line each."""
    return [f"{node.name}: {node.failure}" for node in picture.nodes if node.failure]


def between_text(found: Between | None) -> str:
    """Return a time in milliseconds by its bounds: 1-2.5, or >10000 for what no bound is above."""
    if found is None:
        return _UNKNOWN
    above, at_most = found.above_seconds * 1e3, found.at_most_seconds * 1e3
    return f">{above:g}" if math.isinf(at_most) else f"{above:g}-{at_most:g}"


def duration_text(seconds: float) -> str:
    """Return a time in its two largest units."""
    left, parts = int(seconds), list[str]()
    for unit, size in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2])


def size_text(num_bytes: int) -> str:
    """Return a size in the unit that leaves few digits."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if num_bytes >= 1 << shift:
            return f"{num_bytes / (1 << shift):.1f} {unit}"
    return f"{num_bytes} B"


def _state(node: NodeLine) -> str:
    if node.answering == 0 or node.processes == 1:
        return node.state
    if node.answering < node.processes:
        return f"{node.state}, {node.answering} of {node.processes} workers answer"
    return f"{node.state} ({node.processes} workers)"


def _table_state(table: TableLine) -> str:
    parts = [f"not served by {', '.join(table.not_served_by)}"] if table.not_served_by else ["served"]
    if table.quarantined:
        parts.append(f"{table.quarantined} in quarantine")
    if len(table.versions) > 1:
        parts.append(f"{len(table.versions)} versions")
    return ", ".join(parts)


def _age(table: TableLine) -> str:
    if not table.written_at_ns:
        return _UNKNOWN
    seconds = max(0.0, time.time() - table.written_at_ns / 1e9)
    return duration_text(seconds).partition(" ")[0]


def _rate(number: float | None) -> str:
    if number is None:
        return _UNKNOWN
    return f"{number:,.0f}" if number >= 10 or number == 0 else f"{number:.1f}"


def _megabytes(traffic: Traffic | None) -> str:
    return _UNKNOWN if traffic is None else f"{traffic.row_bytes / 1e6:,.1f}"


def _share(traffic: Traffic | None) -> str:
    return _UNKNOWN if traffic is None or traffic.disk_share is None else f"{traffic.disk_share:.0%}"


def _number(node: NodeLine, number: int) -> str:
    return f"{number:,}" if node.answering else _UNKNOWN


def _bytes(node: NodeLine, num_bytes: int) -> str:
    return size_text(num_bytes) if node.answering else _UNKNOWN

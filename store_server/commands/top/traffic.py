"""What a process did between two looks: differences of its counters, by its own clock, as rates."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engram_store.v1.admin_service_pb2 import GetStatusResponse, TableStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of each how many a second."""

    lookups: float = 0.0
    disk_lookups: float = 0.0
    """Those of them whose rows may have come from a disk."""
    rows: float = 0.0
    row_bytes: float = 0.0

    @property
    def disk_share(self) -> float | None:
        """Which part of the lookups that was; None if there were none."""
        return self.disk_lookups / self.lookups if self.lookups else None


def summed(parts: Iterable[Traffic | None]) -> Traffic | None:
    """Return all together; None if there is nothing that could be measured."""
    known = [astuple(part) for part in parts if part is not None]
    if not known:
        return None
    lookups, disk_lookups, rows, row_bytes = (sum(column) for column in zip(*known, strict=True))
    return Traffic(lookups=lookups, disk_lookups=disk_lookups, rows=rows, row_bytes=row_bytes)


def seconds_between(before: GetStatusResponse | None, now: GetStatusResponse | None) -> float | None:
    """Return how long a process ran from one look to the next; None if it is not the same process."""
    if before is None or now is None or (before.pid, before.started_at_ns) != (now.pid, now.started_at_ns):
        return None
    seconds = now.uptime_seconds - before.uptime_seconds
    return seconds if seconds > 0 else None


def rate(before: int, now: int, seconds: float) -> float | None:
    """Return by how much a counter rose a second; None if it began anew in between."""
    return (now - before) / seconds if now >= before else None


def table_traffic(before: TableStatus | None, now: TableStatus, seconds: float) -> Traffic | None:
    """Return what was asked of a table, of which no `before` was counted before."""
    pairs = [
        (0 if before is None else sum(before.lookups.values()), sum(now.lookups.values())),
        (0 if before is None else before.lookups["disk"], now.lookups["disk"]),
        (0 if before is None else before.found_rows, now.found_rows),
        (0 if before is None else before.found_bytes, now.found_bytes),
    ]
    rates = [rate(earlier, later, seconds) for earlier, later in pairs]
    lookups, disk_lookups, rows, row_bytes = rates
    if lookups is None or disk_lookups is None or rows is None or row_bytes is None:
        return None
    return Traffic(lookups=lookups, disk_lookups=disk_lookups, rows=rows, row_bytes=row_bytes)


def traffic_by_table(before: GetStatusResponse | None, now: GetStatusResponse | None) -> dict[str, Traffic | None]:
    """Return what was asked of each table of a process; empty if that cannot be told."""
    seconds = seconds_between(before, now)
    if before is None or now is None or seconds is None:
        return {}
    earlier = {table.name: table for table in before.tables}
    return {table.name: table_traffic(earlier.get(table.name), table, seconds) for table in now.tables}

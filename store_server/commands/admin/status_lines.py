"""The status of a process in lines for people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engram_store.v1 import admin_service_pb2 as pb
    from store_server.commands.admin.node_calls import Visited

_VERSION_CHARACTERS: Final = 12  # of a version's name, enough to tell it from others


def lines_of(visited: Visited) -> Iterator[str]:
    """Yield what is known of a process."""
    status = visited.status
    if status is None:
        yield f"{visited.address}  no answer: {visited.failure}"
        return
    uptime = timedelta(seconds=int(status.uptime_seconds))
    yield f"{visited.address}  {_state(status)}  up {uptime}  pid {status.pid}  version {status.program_version}"
    if status.cluster_id or status.map_epoch or status.node_id:
        yield f"  node {status.node_id} of cluster {status.cluster_id or '?'}, map epoch {status.map_epoch}"
    limits = (f"{name} {limit.taken:,}/{limit.most:,}" for name, limit in sorted(status.limits.items()))
    yield f"  streams {status.streams}  {'  '.join(limits)}"
    for what, counts in (("refused", status.refused), ("failed", status.failed)):
        if counts:
            yield f"  {what}: {', '.join(f'{name} {number:,}' for name, number in sorted(counts.items()))}"
    for table in status.tables:
        yield f"  {_table_line(table)}"
        for version in table.quarantined:
            yield f"    in quarantine: {version}"


def _state(status: pb.GetStatusResponse) -> str:
    if status.draining:
        return "draining, nobody asks" if status.quiet else "draining"
    return "ready" if status.ready else "not ready"


def _table_line(table: pb.TableStatus) -> str:
    version = table.version[:_VERSION_CHARACTERS] or "?"
    if not table.served:
        return f"{table.name}  NOT SERVED  version {version}"
    in_ram = f"{table.resident_bytes / table.num_bytes:.0%} in RAM" if table.num_bytes else "empty"
    return (
        f"{table.name}  {table.num_rows:,} rows  {table.num_bytes:,} bytes, {in_ram}  {table.backend}  "
        f"version {version}  rows found {table.found_rows:,}"
    )

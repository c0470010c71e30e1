"""How one process of a node is, for those who run it: what its metrics show, too, in one message of one moment."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Final

from engram_store.v1 import admin_service_pb2 as pb
from store_server.access.caller import Scope
from store_server.observing.durations import BOUNDS_SECONDS
from store_server.observing.lookup_counts import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.access.caller import Caller
    from store_server.catalog import Catalog, TableState
    from store_server.cluster.known_map import KnownMap
    from store_server.limits.connections import Connections
    from store_server.limits.load import Load
    from store_server.observing.durations import Durations
    from store_server.observing.lookup_counts import LookupCounts, TableCounts
    from store_server.services.node_services import NodeServices

_GIVEN_UP: Final = "GIVEN_UP"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """Looks at what a process has, without I/O. Belongs to the event loop. `node_id` is "" outside of a cluster."""

    catalog: Catalog
    services: NodeServices
    counts: LookupCounts
    load: Load
    connections: Connections
    known: KnownMap | None
    node_id: str
    address: Callable[[], str]
    is_ready: Callable[[], bool]
    began_ns: int = field(default_factory=time.time_ns)
    began: float = field(default_factory=time.monotonic)
    program_version: str = field(default_factory=lambda: metadata.version("engram-store"))

    def of_now(self, caller: Caller) -> pb.GetStatusResponse:
        """Return it as it is now, with the tables that the caller may read."""
        counts, services = self.counts, self.services
        return pb.GetStatusResponse(
            node_id=self.node_id,
            cluster_id=self._cluster_id(),
            map_epoch=0 if self.known is None else self.known.epoch,
            program_version=self.program_version,
            pid=os.getpid(),
            listen=self.address(),
            started_at_ns=self.began_ns,
            now_ns=time.time_ns(),
            uptime_seconds=time.monotonic() - self.began,
            ready=self.is_ready(),
            draining=services.draining.is_announced,
            quiet=services.draining.is_quiet(services.under_way),
            tables=self._tables(caller),
            workers=services.tables.workers,
            limits=self._limits(),
            lookup_seconds={source: _times(counts.seconds[source]) for source in SOURCES},
            refused=_not_zero(self.load.refused),
            failed=_not_zero(counts.failures),
            given_up=counts.failures[_GIVEN_UP],
            streams=services.lookups.num_streams,
            connections=self.connections.number,
        )

    def _tables(self, caller: Caller) -> list[pb.TableStatus]:
        return [
            _table(name, state, self.counts.tables.get(name))
            for name, state in sorted(self.catalog.tables.items())
            if caller.may(Scope.READ, name)
        ]

    def _limits(self) -> dict[str, pb.LimitStatus]:
        load, connections = self.load, self.connections
        in_flight = (load.request_bytes, load.reply_bytes)
        return {
            "max-connections": pb.LimitStatus(taken=connections.number, most=connections.most),
            "max-queued": pb.LimitStatus(taken=load.waiting.taken, most=load.waiting.most),
            "max-in-flight-bytes": pb.LimitStatus(
                taken=sum(pool.taken for pool in in_flight), most=sum(pool.most for pool in in_flight)
            ),
        }

    def _cluster_id(self) -> str:
        newest = None if self.known is None else self.known.newest
        return "" if newest is None else newest.cluster


def _table(name: str, state: TableState, counts: TableCounts | None) -> pb.TableStatus:
    current, opened = state.find(""), state.opened_current()
    status = pb.TableStatus(
        name=name,
        version=state.current,
        quarantined=sorted(version for version, each in state.versions.items() if each.is_in_quarantine),
    )
    if current is not None and current.place is not None:
        status.written_at_ns = current.place.changed_ns
    if opened is not None:
        status.served = True
        status.num_rows, status.num_bytes = opened.manifest.num_rows, opened.manifest.num_bytes
        status.resident_bytes, status.backend = opened.backend.resident_bytes, opened.backend.kind
    if counts is not None:
        status.lookups.update({"ram": counts.from_ram, "disk": counts.from_disk})
        status.found_rows, status.found_bytes = counts.rows, counts.row_bytes
    return status


def _times(durations: Durations) -> pb.LookupTimes:
    return pb.LookupTimes(
        bounds_seconds=BOUNDS_SECONDS, cumulative=durations.cumulative(), sum_seconds=durations.sum_seconds
    )


def _not_zero(counts: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}

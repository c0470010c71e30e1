"""Metrics of the tables that a node has: whether they are served, how large they are and what of them is in RAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from store_server.catalog import Catalog

_NANOSECONDS = 1e9


class TableMetrics(Collector):
    """Collects what a catalog knows of the current version of each table."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        served = _gauge("engram_table_served", "Whether lookups of the current version work.")
        num_bytes = _gauge("engram_table_bytes", "Bytes of all rows of the current version.")
        resident = _gauge("engram_table_resident_bytes", "What is known to lie in RAM of the current version.")
        rows = _gauge("engram_table_rows", "Rows of the current version.")
        came = _gauge("engram_table_version_timestamp_seconds", "When the current version came to this node.")
        quarantined = 0
        for table, state in self._catalog.tables.copy().items():
            version = state.opened_current()
            served.add_metric((table,), version is not None)
            if version is not None:
                num_bytes.add_metric((table,), version.manifest.num_rows * version.manifest.row_bytes)
                resident.add_metric((table,), version.backend.resident_bytes)
                rows.add_metric((table,), version.manifest.num_rows)
            quarantined += sum(each.is_in_quarantine for each in tuple(state.versions.values()))
            current = state.find("")
            if current is not None and current.place is not None:
                came.add_metric((table,), current.place.changed_ns / _NANOSECONDS)
        yield from (served, num_bytes, resident, rows, came)
        yield GaugeMetricFamily(
            "engram_quarantined_versions", "Versions that are not served as they ended who read them.", quarantined
        )


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("table",))

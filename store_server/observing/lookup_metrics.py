"""Metrics of lookups and of the rows that they found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from store_server.observing.buckets import buckets_of
from store_server.observing.lookup_counts import SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from store_server.observing.lookup_counts import LookupCounts


class LookupMetrics(Collector):
    """Collects what LookupCounts counted."""

    def __init__(self, counts: LookupCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        yield from self._of_tables()
        seconds = HistogramMetricFamily(
            "engram_lookup_seconds",
            "Time from when a lookup was read until gRPC had its rows, by whether a disk had to be asked.",
            labels=("source",),
        )
        for source in SOURCES:
            seconds.add_metric((source,), *buckets_of(self._counts.seconds[source]))
        yield seconds
        failures = CounterMetricFamily(
            "engram_lookup_failures",
            "Lookups that were refused, by the reason that callers were told.",
            labels=("reason",),
        )
        for reason, number in self._counts.failures.copy().items():
            failures.add_metric((reason,), number)
        yield failures
        yield CounterMetricFamily(
            "engram_given_up",
            "Lookups that were not begun as their callers no longer waited.",
            self._counts.failures["GIVEN_UP"],
        )

    def _of_tables(self) -> Iterator[Metric]:
        lookups = CounterMetricFamily(
            "engram_lookups", "Lookups that were answered with rows.", labels=("table", "source")
        )
        rows = CounterMetricFamily("engram_rows", "Rows that were found, repeats included.", labels=("table",))
        row_bytes = CounterMetricFamily("engram_row_bytes", "Bytes of the rows that were found.", labels=("table",))
        for table, counts in self._counts.tables.copy().items():
            lookups.add_metric((table, "ram"), counts.from_ram)
            lookups.add_metric((table, "disk"), counts.from_disk)
            rows.add_metric((table,), counts.rows)
            row_bytes.add_metric((table,), counts.row_bytes)
        yield from (lookups, rows, row_bytes)

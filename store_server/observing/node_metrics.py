"""What a process of a node counts, and how it shows that and its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.observing.build_info import BuildInfo
from store_server.observing.call_counts import CallCounts
from store_server.observing.call_metrics import CallMetrics
from store_server.observing.exposition import Exposition
from store_server.observing.lookup_counts import LookupCounts
from store_server.observing.lookup_metrics import LookupMetrics
from store_server.observing.readings import Readings
from store_server.observing.root_readings import read_root
from store_server.observing.table_metrics import TableMetrics
from store_server.observing.worker_readings import read_workers

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.registry import Collector

    from store_server.catalog import Catalog


class NodeMetrics:
    """Counts, belonging to the event loop, and `readings`, to which whoever has something to show adds it."""

    def __init__(self, catalog: Catalog, root: Path) -> None:
        self.calls = CallCounts()
        self.lookups = LookupCounts()
        self.readings = Readings()
        read_root(root, self.readings)
        self._catalog = catalog

    def looked_at_root(self) -> None:
        """Forget the tables that are gone, once the catalog knows of it."""
        self.lookups.forget_all_but(self._catalog.tables)

    def exposition(self, worker: int, *others: Collector) -> Exposition:
        """Return all of it, and what `others` collect, as that of a worker with this number."""
        return Exposition(
            worker,
            (
                BuildInfo(),
                CallMetrics(self.calls),
                LookupMetrics(self.lookups),
                TableMetrics(self._catalog),
                self.readings,
                *others,
            ),
        )

    def exposition_alone(self) -> Exposition:
        """Return all of it as that of the only process of a node, which tells itself what a parent tells of workers."""
        workers = Readings()
        read_workers(workers, lambda: {0: True}, lambda: {0: 0})
        return self.exposition(0, workers)

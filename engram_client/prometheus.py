"""What a store has done, for the Prometheus client of the program that uses it: needs the extra `metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engram_client.metrics import BOUNDS_SECONDS

try:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ImportError as error:
    raise ImportError(
        "engram_client.prometheus needs prometheus-client: pip install 'engram-store[metrics]'"
    ) from error

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from engram_client.blocking import BlockingStore
    from engram_client.store import Store


class StoreCollector(Collector):
    """Collects the figures of a store, for as long as it is registered.

    Example::

        prometheus_client.REGISTRY.register(StoreCollector(store))
    """

    def __init__(self, store: Store | BlockingStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        metrics = self._store.metrics
        yield _counter("engram_client_fetches", "Fetches that ended with their rows.", metrics.fetches)
        yield _counter("engram_client_fetch_failures", "Fetches that ended with an error.", metrics.failed)
        yield _counter("engram_client_rows", "Rows that were fetched, repeats included.", metrics.rows)
        yield _counter("engram_client_hedges", "Requests that were sent to a second node.", self._store.hedges)
        yield self._of_retries()
        seconds = HistogramMetricFamily("engram_client_fetch_seconds", "How long fetches took, from call to rows.")
        names = map(floatToGoString, (*BOUNDS_SECONDS, float("inf")))
        seconds.add_metric((), list(zip(names, metrics.cumulative(), strict=True)), metrics.seconds)
        yield seconds
        yield from self._of_cache()

    def _of_retries(self) -> Metric:
        text = "Requests for rows that were sent again, after a failure or as the node before had too much to do."
        counted = CounterMetricFamily("engram_client_retries", text, labels=("reason",))
        counted.add_metric(("failed",), self._store.retries.after_failures)
        counted.add_metric(("refused",), self._store.retries.after_refusals)
        return counted

    def _of_cache(self) -> Iterator[Metric]:
        hits = CounterMetricFamily("engram_client_cache_hits", "Rows that the row cache had.", labels=("table",))
        misses = CounterMetricFamily("engram_client_cache_misses", "Rows that it had not.", labels=("table",))
        for table, use in self._store.cache.items():
            had, asked = use.hits, use.looked_up
            hits.add_metric((table,), had)
            misses.add_metric((table,), max(0, asked - had))
        yield from (hits, misses)


def _counter(name: str, text: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value)

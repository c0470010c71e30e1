"""What prefetching could not hide, for the Prometheus client of a training or serving program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

try:
    from prometheus_client.core import CounterMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("engram_model.prometheus needs prometheus-client: pip install 'engram-store[metrics]'") from error

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from engram_model.prefetch.prefetcher import Prefetcher


class PrefetchCollector(Collector):
    """Collects, for each layer, at how many turns its rows were late, and how long it stood still for them."""

    def __init__(self, prefetcher: Prefetcher) -> None:
        self._prefetcher = prefetcher

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        turns = CounterMetricFamily("engram_model_turns", "Times that a layer's turn came.", labels=("layer",))
        late = CounterMetricFamily(
            "engram_model_late_layers", "Turns of a layer at which its rows were not there.", labels=("layer",)
        )
        waited = CounterMetricFamily(
            "engram_model_waited_seconds", "How long a layer stood still for its rows.", labels=("layer",)
        )
        for layer, stats in self._prefetcher.stats().layers.items():
            turns.add_metric((str(layer),), stats.turns)
            late.add_metric((str(layer),), stats.late)
            waited.add_metric((str(layer),), stats.waited_seconds)
        yield from (turns, late, waited)

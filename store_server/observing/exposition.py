"""All metrics of one process as text, each sample with the number of the worker that it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric


class Exposition(Collector):
    """What `collectors` tell of worker number `worker`, and what can be told of any process of Python."""

    def __init__(self, worker: int, collectors: Iterable[Collector]) -> None:
        self._worker = str(worker)
        standard = CollectorRegistry()
        ProcessCollector(registry=standard)
        PlatformCollector(registry=standard)
        GCCollector(registry=standard)
        self._collectors = (*collectors, standard)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, each sample with the label `worker`."""
        for collector in self._collectors:
            for metric in collector.collect():
                metric.samples = [
                    sample._replace(labels={"worker": self._worker, **sample.labels}) for sample in metric.samples
                ]
                yield metric

    def text(self) -> bytes:
        """Return them as Prometheus reads them. May wait for a disk; any thread may call it."""
        return generate_latest(self)

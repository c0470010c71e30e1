"""Metrics that are read from somewhere else whenever they are asked for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric


class _Reading(NamedTuple):
    kind: type[GaugeMetricFamily | CounterMetricFamily]
    name: str
    text: str
    label: str | None
    read: Callable[[], Mapping[str, float]]


class Readings(Collector):
    """Collects what it was told to read. What cannot be read just now (OSError) is left out, and all else is there.

    `read` is called in a thread: it may wait for a disk, and takes no lock of the event loop's.
    """

    def __init__(self) -> None:
        self._readings: list[_Reading] = []

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a number that goes up and down."""
        self._readings.append(_Reading(GaugeMetricFamily, name, text, None, lambda: {"": read()}))

    def gauges(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Show such numbers by the value of a label, of which there must be few."""
        self._readings.append(_Reading(GaugeMetricFamily, name, text, label, read))

    def counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a number that only rises; the name ends with `_total`."""
        self._readings.append(_Reading(CounterMetricFamily, name, text, None, lambda: {"": read()}))

    def counters(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Show such numbers by the value of a label, of which there must be few."""
        self._readings.append(_Reading(CounterMetricFamily, name, text, label, read))

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        for kind, name, text, label, read in tuple(self._readings):
            metric = kind(name, text, labels=() if label is None else (label,))
            with contextlib.suppress(OSError):
                for value, number in dict(read()).items():
                    metric.add_metric(() if label is None else (value,), number)
            yield metric

"""Metrics of calls, under the names that servers of other languages use for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from store_server.observing.buckets import buckets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from store_server.observing.call_counts import CallCounts

_OF_METHOD = ("grpc_type", "grpc_service", "grpc_method")


class CallMetrics(Collector):
    """Collects what CallCounts counted."""

    def __init__(self, counts: CallCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        started = CounterMetricFamily("grpc_server_started", "Calls that were begun.", labels=_OF_METHOD)
        handled = CounterMetricFamily(
            "grpc_server_handled", "Calls that have ended, by status.", labels=(*_OF_METHOD, "grpc_code")
        )
        received = CounterMetricFamily("grpc_server_msg_received", "Messages from callers.", labels=_OF_METHOD)
        sent = CounterMetricFamily("grpc_server_msg_sent", "Messages to callers.", labels=_OF_METHOD)
        seconds = HistogramMetricFamily(
            "grpc_server_handling_seconds", "How long calls lasted; a stream is one call.", labels=_OF_METHOD
        )
        for method, counts in self._counts.methods.copy().items():
            labels = (method.kind, method.service, method.name)
            started.add_metric(labels, counts.started)
            received.add_metric(labels, counts.received)
            sent.add_metric(labels, counts.sent)
            seconds.add_metric(labels, *buckets_of(counts.seconds))
            for code, number in counts.handled.copy().items():
                handled.add_metric((*labels, code), number)
        yield from (started, handled, received, sent, seconds)

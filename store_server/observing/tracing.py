"""Tracing with OpenTelemetry, as its own environment variables say where to and how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from store_server.observing.lookup_spans import CallSpans

Trace: TypeAlias = Literal["off", "otlp"]
SpansOfCalls: TypeAlias = "Callable[[], CallSpans | None]"
"""Makes what takes note of the lookups of one call; returns None where nothing is traced."""
_FLUSH_MILLISECONDS: Final = 2000


class TracingMissing(ValueError):
    """The packages that trace are not installed."""

    def __init__(self) -> None:
        super().__init__("--trace otlp needs OpenTelemetry: install engram-store[otel]")


@contextmanager
def tracing(trace: Trace, node_name: str) -> Iterator[SpansOfCalls]:
    """Yield what makes spans, which are sent by OTLP over gRPC as long as the block lasts, unless that is off.

    OTEL_EXPORTER_OTLP_ENDPOINT names the collector, and OTEL_SERVICE_NAME may give the node another name. What cannot
    be sent is dropped: spans hold up no lookup. Raises TracingMissing.
    """
    if trace == "off":
        yield lambda: None
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from store_server.observing.lookup_spans import CallSpans
    except ImportError as error:
        raise TracingMissing from error
    resource = Resource.create({SERVICE_NAME: "engram-store", SERVICE_INSTANCE_ID: node_name})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        tracer = provider.get_tracer("store_server", metadata.version("engram-store"))
        yield lambda: CallSpans(tracer)
    finally:
        provider.force_flush(_FLUSH_MILLISECONDS)
        provider.shutdown()

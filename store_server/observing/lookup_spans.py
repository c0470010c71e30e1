"""Spans of lookups that a client traces: when they were read, when they were gathered, and from where."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.util.types import AttributeValue

    from engram_store.codec import Request
    from store_server.observing.lookup_counts import Source

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class CallSpans:
    """The spans of one call's lookups: an `engram.lookup` with an `engram.gather` in it, made once both are over.

    Times are those of time_ns. A lookup that is no part of a span that its client samples is passed over.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._read_at: dict[int, int] = {}  # by the ids of lookups that are traced and not answered yet

    def read(self, requests: Iterable[Request]) -> None:
        """Take note that lookups have just been read."""
        for request in requests:
            if request.traceparent:
                self._read_at[request.id] = time.time_ns()

    def answered(self, request: Request, source: Source, began: int, ended: int) -> None:
        """Make the spans of a lookup that was answered with rows, gathered between these times."""
        if (span := self._begun(request)) is not None:
            span.set_attribute("engram.source", source)
            inside = trace.set_span_in_context(span)
            self._tracer.start_span("engram.gather", inside, start_time=began).end(ended)
            span.end(ended)

    def failed(self, request: Request, reason: str) -> None:
        """Make the span of a lookup that was refused, for a reason of ErrorReason."""
        if (span := self._begun(request)) is not None:
            span.set_status(trace.StatusCode.ERROR, reason)
            span.end()

    def _begun(self, request: Request) -> trace.Span | None:
        read_at = self._read_at.pop(request.id, None)
        if read_at is None or (parent := _parent(request.traceparent)) is None:
            return None
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        attributes: dict[str, AttributeValue] = {"engram.table": request.table, "engram.rows": request.rows.size}
        return self._tracer.start_span("engram.lookup", context, trace.SpanKind.SERVER, attributes, start_time=read_at)


def _parent(traceparent: str) -> trace.SpanContext | None:
    """Return what a client says of its span, None for what is no such thing."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))

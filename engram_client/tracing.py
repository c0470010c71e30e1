"""Spans of fetches, for those who trace with OpenTelemetry: only where `connect` is given a tracer."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import AttributeValue

    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.table_info import TableInfo
    from engram_client.transport import Transport

TRACEPARENT: Final[ContextVar[str]] = ContextVar("engram_traceparent", default="")
"""The span that lookups are sent with, as W3C Trace Context writes it; "" for none. Tasks inherit it."""


class TracingTransport:
    """Makes a span `engram.fetch` of each fetch, a child of the one that is current where it was begun.

    Nodes that trace go on with those that are sampled. Goes around all that a fetch passes, a cache included.
    """

    def __init__(self, inner: Transport, tracer: Tracer) -> None:
        self._inner = inner
        self._tracer = tracer

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        return await self._inner.list_tables(timeout)

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        return await self._inner.get_table(name, version, timeout)

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,), each within the table, into `out` (n, row_bytes)."""
        attributes: dict[str, AttributeValue] = {
            "engram.table": table.name,
            "engram.version": table.version,
            "engram.rows": len(rows),
        }
        with self._tracer.start_as_current_span("engram.fetch", attributes=attributes) as span:
            context = span.get_span_context()
            if not context.trace_flags.sampled:
                await self._inner.fetch(table, rows, out, timeout)
                return
            token = TRACEPARENT.set(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}")
            try:
                await self._inner.fetch(table, rows, out, timeout)
            finally:
                TRACEPARENT.reset(token)

    async def close(self) -> None:
        """Let go of everything; what is under way fails with StoreClosed."""
        await self._inner.close()

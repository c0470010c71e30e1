"""What a node lets be seen of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store_server.commands.option_groups import OptionGroup
from store_server.logs import LogFormat
from store_server.observing.tracing import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class SeeingOptions(OptionGroup):
    """Metrics, the log and traces."""

    metrics_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Show metrics for Prometheus there, at /metrics: those of all workers together. Nowhere by default.",
        ),
    ] = None
    log_format: Annotated[LogFormat, typer.Option(help="A line of text, or a JSON object, for each event.")] = "text"
    trace: Annotated[
        Trace,
        typer.Option(
            help="Whether lookups that clients trace with OpenTelemetry have spans here: otlp sends them where "
            "OTEL_EXPORTER_OTLP_ENDPOINT says. Needs engram-store[otel]."
        ),
    ] = "off"

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        return {"metrics_listen": self.metrics_listen, "log_format": self.log_format, "trace": self.trace}

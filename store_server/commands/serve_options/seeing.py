"""What a node lets be seen of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store_server.commands.option_groups import OptionGroup
from store_server.logs import LogFormat

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class SeeingOptions(OptionGroup):
    """Metrics and the log."""

    metrics_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Show metrics for Prometheus there, at /metrics: those of all workers together. Nowhere by default.",
        ),
    ] = None
    log_format: Annotated[LogFormat, typer.Option(help="A line of text, or a JSON object, for each event.")] = "text"

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        return {"metrics_listen": self.metrics_listen, "log_format": self.log_format}

"""How a node stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store_server.commands.option_groups import OptionGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class StoppingOptions(OptionGroup):
    """How long a stop may take."""

    drain_seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long a stop may take: lookups that are under way and, for half of that time, until clients have "
            "gone to other nodes of the cluster.",
        ),
    ] = 10.0

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        return {"drain_seconds": self.drain_seconds}

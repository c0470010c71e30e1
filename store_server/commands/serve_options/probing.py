"""What others may ask of a node that is no lookup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from store_server.commands.option_groups import OptionGroup
from store_server.listen_address import ListenAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

_PANEL: Final = "Probes and tools"


@dataclass(frozen=True, kw_only=True)
class ProbingOptions(OptionGroup):
    """What probes and tools of gRPC may ask."""

    health_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            rich_help_panel=_PANEL,
            help="Answer the standard health service there in plain text, and nothing else: for the probes of "
            'Kubernetes. The service "" is ready for clients, "startup" has opened its tables, "liveness" answers.',
        ),
    ] = None
    reflection: Annotated[
        bool,
        typer.Option(
            "--reflection/--no-reflection",
            rich_help_panel=_PANEL,
            help="Tell whoever the node admits which services and messages it has: grpcurl and others ask for it.",
        ),
    ] = True
    channelz: Annotated[
        bool,
        typer.Option(
            "--channelz/--no-channelz",
            rich_help_panel=_PANEL,
            help="Tell gRPC's tools of connections, and of what went over each, at --admin-listen where that is given. "
            "For who has the scope admin, and without --tokens for callers on this host.",
        ),
    ] = False

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        if self.health_listen is not None:
            ListenAddress.parse(self.health_listen, "health_listen")
        return {"health_listen": self.health_listen, "reflection": self.reflection, "channelz": self.channelz}

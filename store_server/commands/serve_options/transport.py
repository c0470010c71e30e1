"""Where a node listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store_server.commands.option_groups import OptionGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class TransportOptions(OptionGroup):
    """Where a node listens."""

    listen: Annotated[str, typer.Option(help="HOST:PORT to listen on (port 0 picks a free one), or unix:///PATH.")] = (
        "127.0.0.1:50051"
    )

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        return {"listen": self.listen}

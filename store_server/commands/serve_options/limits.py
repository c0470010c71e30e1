"""How much clients may ask of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from store_server.commands.byte_size import parse_byte_size
from store_server.commands.option_groups import OptionGroup
from store_server.limits.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

_PANEL: Final = "Limits"
_BY_DEFAULT: Final = Limits()


@dataclass(frozen=True, kw_only=True)
class LimitOptions(OptionGroup):
    """Beyond any of these a client is refused at once, and told which one it was and when to try again."""

    max_connections: Annotated[int, typer.Option(rich_help_panel=_PANEL, help="Connections of clients.")] = (
        _BY_DEFAULT.max_connections
    )
    max_streams: Annotated[
        int, typer.Option(rich_help_panel=_PANEL, help="Calls and streams at a time on one connection.")
    ] = _BY_DEFAULT.max_streams
    max_rows: Annotated[int, typer.Option(rich_help_panel=_PANEL, help="Rows of one lookup.")] = 131_072
    max_message_bytes: Annotated[
        int,
        typer.Option(
            metavar="BYTES",
            parser=parse_byte_size,
            rich_help_panel=_PANEL,
            show_default="4MiB",
            help="Size of a request.",
        ),
    ] = _BY_DEFAULT.max_message_bytes
    max_metadata_bytes: Annotated[
        int,
        typer.Option(
            metavar="BYTES",
            parser=parse_byte_size,
            rich_help_panel=_PANEL,
            show_default="16KiB",
            help="Size of the headers of a call.",
        ),
    ] = _BY_DEFAULT.max_metadata_bytes
    max_queued: Annotated[
        int,
        typer.Option(
            rich_help_panel=_PANEL,
            help="Lookups that wait to be begun. A client alone has half of it, two a third each. At a disk that reads "
            "8 lookups at a time, each in 10 ms, 800 that wait are a second.",
        ),
    ] = _BY_DEFAULT.max_queued
    max_in_flight_bytes: Annotated[
        int,
        typer.Option(
            metavar="BYTES",
            parser=parse_byte_size,
            rich_help_panel=_PANEL,
            show_default="512MiB",
            help="Memory for requests that wait and replies not taken yet, shared in the same way. Each worker has "
            "its part of it, of 64MiB at least.",
        ),
    ] = _BY_DEFAULT.max_in_flight_bytes
    stall_seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", rich_help_panel=_PANEL, help="A client that takes no reply for so long is cut off."
        ),
    ] = _BY_DEFAULT.stall_seconds

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        return {
            "max_rows_per_lookup": self.max_rows,
            "limits": Limits(
                max_connections=self.max_connections,
                max_streams=self.max_streams,
                max_message_bytes=self.max_message_bytes,
                max_metadata_bytes=self.max_metadata_bytes,
                max_queued=self.max_queued,
                max_in_flight_bytes=self.max_in_flight_bytes,
                stall_seconds=self.stall_seconds,
            ),
        }

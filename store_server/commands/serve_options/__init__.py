"""The options of `serve`: one file a group, put together here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store_server.commands.option_groups import OptionGroup, option_names
from store_server.commands.serve_options.access import AccessOptions
from store_server.commands.serve_options.cluster import ClusterOptions
from store_server.commands.serve_options.limits import LimitOptions
from store_server.commands.serve_options.probing import ProbingOptions
from store_server.commands.serve_options.processes import ProcessOptions
from store_server.commands.serve_options.seeing import SeeingOptions
from store_server.commands.serve_options.stopping import StoppingOptions
from store_server.commands.serve_options.tables import TableOptions
from store_server.commands.serve_options.transport import TransportOptions
from store_server.commands.setting_layers.environment import CONFIG
from store_server.commands.setting_layers.layers import read_layers

if TYPE_CHECKING:
    from collections.abc import Iterator


def _read_layers(context: typer.Context, config: Path | None) -> Path | None:
    read_layers(context, setting_names(), config)
    return config


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """All that `serve` can be told, in the order of its help: a group more is a line more here."""

    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", show_default=False, help="Data root with the tables to serve.")
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            is_eager=True,  # before the others are looked at
            callback=_read_layers,
            envvar=CONFIG,
            help='Settings in TOML, named as the options are: listen = "0.0.0.0:50051", or workers = 4.',
        ),
    ] = None
    transport: TransportOptions
    access: AccessOptions
    processes: ProcessOptions
    tables: TableOptions
    stopping: StoppingOptions
    limits: LimitOptions
    seeing: SeeingOptions
    probing: ProbingOptions
    cluster: ClusterOptions

    def groups(self) -> Iterator[OptionGroup]:
        """Return the groups, in their order."""
        for field in dataclasses.fields(self):
            if isinstance(group := getattr(self, field.name), OptionGroup):
                yield group


def setting_names() -> list[str]:
    """Return the names of the parameters that are settings of a node, in the order of the help."""
    return [name for name in option_names(ServeOptions) if name != "config"]

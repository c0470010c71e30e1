"""The options of `serve`: one file a group, put together here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store_server.commands.option_groups import OptionGroup
from store_server.commands.serve_options.cluster import ClusterOptions
from store_server.commands.serve_options.limits import LimitOptions
from store_server.commands.serve_options.processes import ProcessOptions
from store_server.commands.serve_options.stopping import StoppingOptions
from store_server.commands.serve_options.tables import TableOptions
from store_server.commands.serve_options.transport import TransportOptions

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """All that `serve` can be told, in the order of its help: a group more is a line more here."""

    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Data root with the tables to serve.")]
    transport: TransportOptions
    processes: ProcessOptions
    tables: TableOptions
    stopping: StoppingOptions
    limits: LimitOptions
    cluster: ClusterOptions

    def groups(self) -> Iterator[OptionGroup]:
        """Return the groups, in their order."""
        for field in dataclasses.fields(self):
            if isinstance(group := getattr(self, field.name), OptionGroup):
                yield group

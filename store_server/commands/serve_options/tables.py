"""How a node holds its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store_server.commands.byte_size import parse_byte_size
from store_server.commands.option_groups import OptionGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class TableOptions(OptionGroup):
    """What of the tables lies in RAM."""

    in_memory: Annotated[
        list[str] | None,
        typer.Option("--in-memory", metavar="NAME", help="Load this table into RAM. May be given several times."),
    ] = None
    huge_pages: Annotated[bool, typer.Option(help="Ask for huge pages for the tables in RAM.")] = False
    memory_budget: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            parser=parse_byte_size,
            help="How much of the mapped tables may lie in RAM, such as 8GiB: what the node has mapped, and what it "
            "finds of them in the page cache. What was not used lately goes. Workers have equal parts of it. Not "
            "counted are tables --in-memory and the node's own memory.",
        ),
    ] = None

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        return {
            "in_memory": frozenset(self.in_memory or ()),
            "huge_pages": self.huge_pages,
            "memory_budget_bytes": self.memory_budget,
        }

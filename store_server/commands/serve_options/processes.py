"""How many processes a node consists of, and which cores and memory they use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from store_server.commands.option_groups import OptionGroup
from store_server.placement import Placement, parse_numbers, place


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(OptionGroup):
    """The processes of a node and their places. They are no settings of a process: it is started in its place."""

    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            help="Processes that serve, each on a port of its own (PORT, PORT+1, ...; PATH, PATH.1, ...). They share "
            "what is in RAM; clients learn of them and spread their load.",
        ),
    ] = 1
    supervise: Annotated[
        bool,
        typer.Option(
            help="Have a parent process start a worker again that dies, also where there is but one. Several workers "
            "always have one. It puts a version into quarantine that ends who reads it for the second time.",
        ),
    ] = False
    pin_cores: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Run on these cores only, such as 0,2,4-7; each worker has its part of them."
        ),
    ] = None
    numa_nodes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Run on the cores of these NUMA nodes, such as 0 or 0,1, and take memory there; each worker has one "
            "node, in turn. A table in RAM lies on the node of the worker that loads it.",
        ),
    ] = None

    def placements(self) -> list[Placement | None]:
        """Return the place of each process. Raises ValueError."""
        return place(self.workers, pin_cores=_numbers(self.pin_cores), numa_nodes=_numbers(self.numa_nodes))


def _numbers(given: str | None) -> tuple[int, ...]:
    return () if given is None else parse_numbers(given)

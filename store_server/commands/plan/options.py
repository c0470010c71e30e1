"""The options of `plan`, so that the command itself reads as a list of them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from store_server.commands.arguments import check_row_bytes
from store_server.commands.byte_size import parse_byte_size
from store_server.commands.plan.amounts import parse_amount, parse_share
from store_server.commands.plan.presets import PRESETS
from store_server.commands.plan.sizing import MOST_NODES

# As text, which the help shows and the option's parser turns into numbers.
RAM: Final[Any] = "256GiB"
DISK: Final[Any] = "2TB"
NETWORK: Final[Any] = "25G"
MOST_USED: Final[Any] = "0.7"
ALL: Final[Any] = "1.0"

ModelName = Enum("ModelName", {name: name for name in PRESETS})  # type: ignore[misc]

TokensOption = Annotated[
    float | None,
    typer.Option(
        "--tokens-per-second",
        metavar="RATE",
        parser=parse_amount,
        help="Tokens whose rows are looked up, such as 1M: how many nodes does that take?",
    ),
]
NodesOption = Annotated[
    int | None,
    typer.Option("--nodes", min=1, max=MOST_NODES, help="Instead: what do so many nodes sustain?"),
]
ModelOption = Annotated[
    ModelName | None,
    typer.Option("--model", help="A model that is known; v41-flash by default."),
]
RowsATokenOption = Annotated[
    int | None,
    typer.Option(
        "--rows-a-token",
        min=1,
        max=100_000,
        help="Of another model: rows that a token reads, in all tables together.",
    ),
]
RowBytesOption = Annotated[
    int | None,
    typer.Option("--row-bytes", callback=check_row_bytes, help="Of another model."),
]
TableBytesOption = Annotated[
    int | None,
    typer.Option(
        "--table-bytes",
        metavar="SIZE",
        parser=parse_byte_size,
        help="Of another model: all tables together, such as 200GB.",
    ),
]
TablesOption = Annotated[
    int | None,
    typer.Option("--tables", min=1, max=10_000, help="Of another model: its tables; 1 by default."),
]
CallTokensOption = Annotated[
    int,
    typer.Option(
        "--call-tokens",
        min=1,
        max=10_000_000,
        help="Tokens looked up together: a part of a prompt, or the sequences of a step of decoding.",
    ),
]
AfterDeduplicationOption = Annotated[
    float,
    typer.Option(
        "--after-deduplication",
        metavar="SHARE",
        parser=parse_share,
        help="Share of the rows left when a call asks for repeats once; `make bench-less-to-send` measures it (0.674 "
        "for English manuals).",
    ),
]
AfterCacheOption = Annotated[
    float,
    typer.Option(
        "--after-cache",
        metavar="SHARE",
        parser=parse_share,
        help="Share of these that the client's cache does not hold: 1 less the hits of `make bench-less-to-send`.",
    ),
]
FromLoadOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--from-load",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="What lookups cost, from `engram-store load --concurrency N --json FILE` against one node. Given for two "
        "or more sizes of fetches, what a request costs is told from what a row costs.",
    ),
]
RowsPerSecondOption = Annotated[
    float | None,
    typer.Option(
        "--rows-per-second-a-node",
        metavar="RATE",
        parser=parse_amount,
        help="Instead: the most rows/s that a node serves, whatever the size of requests. Without both, a small "
        "machine's figures are taken.",
    ),
]
ClientMicrosecondsOption = Annotated[
    float | None,
    typer.Option(
        "--client-us-a-row",
        metavar="TIME",
        parser=parse_amount,
        help="Instead: processor time of the client for a row, in microseconds.",
    ),
]
NetworkOption = Annotated[
    float,
    typer.Option(
        "--network",
        metavar="RATE",
        parser=parse_amount,
        help="Bits a second, each way.",
    ),
]
RamOption = Annotated[
    int,
    typer.Option("--ram", metavar="SIZE", parser=parse_byte_size, help="Memory for rows."),
]
DiskOption = Annotated[int, typer.Option("--disk", metavar="SIZE", parser=parse_byte_size, help="Disk for rows.")]
NodesAMachineOption = Annotated[
    int,
    typer.Option(
        "--nodes-a-machine",
        min=1,
        max=MOST_NODES,
        help="So many nodes run on one machine and share its rows/s, network, memory and disk.",
    ),
]
ReplicasOption = Annotated[int, typer.Option("--replicas", min=1, max=MOST_NODES, help="Nodes that hold each row.")]
VersionsOption = Annotated[
    int,
    typer.Option(
        "--versions",
        min=1,
        max=100,
        help="Versions on disk at once: the next is published while the current one serves.",
    ),
]
DomainsOption = Annotated[
    int | None,
    typer.Option(
        "--domains",
        min=2,
        max=MOST_NODES,
        help="Failure domains (zones, racks), with as many nodes each; the others must bear the loss of one.",
    ),
]
MostUsedOption = Annotated[
    float,
    typer.Option(
        "--most-used",
        metavar="SHARE",
        parser=parse_share,
        help="The most that is used of memory, disk, network and rows/s while all nodes are there. The rest is for "
        "uneven load, hedged requests, restoring copies, and whatever else runs there.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead.")]

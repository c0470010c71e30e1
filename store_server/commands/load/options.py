"""The options of `load`, so that the command itself reads as a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from store_server.commands.load.arrivals import Spacing
from store_server.commands.load.checks import Check
from store_server.commands.load.quantities import parse_duration, parse_positive_duration, parse_rate, parse_share

# As text, which the help shows and the option's parser turns into seconds.
WARM_UP: Final[Any] = "2s"
DURATION: Final[Any] = "10s"
TIMEOUT: Final[Any] = "10s"

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Store: grpcs://HOST:PORT[,HOST:PORT...] or grpc:// in plain text, unix:///PATH or file:///ROOT.",
        show_default=False,
    ),
]
TableOption = Annotated[
    str | None, typer.Option("--table", metavar="NAME", help="Table to fetch from; needed if there are several.")
]

RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="RATE",
        parser=parse_rate,
        help="Open loop: so many fetches are due, such as 500/s, whatever the server does. 100/s by default; with "
        "--find-rate the first one that is tried.",
    ),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option("--concurrency", min=1, max=4096, help="Closed loop instead: so many fetches are always under way."),
]
FindRateOption = Annotated[
    bool, typer.Option("--find-rate", help="Find the highest rate whose p99 stays within --p99.")
]
P99Option = Annotated[
    float | None,
    typer.Option("--p99", metavar="TIME", parser=parse_positive_duration, help="Limit of --find-rate, such as 5ms."),
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="SHARE",
        parser=parse_share,
        help="How close --find-rate comes: the rate it finds holds, one higher by this does not. 5% by default.",
    ),
]
ArrivalsOption = Annotated[
    Spacing, typer.Option("--arrivals", help="Gaps of an open loop: as independent users make them, or all alike.")
]
BurstOption = Annotated[
    int, typer.Option("--burst", min=1, max=10_000, help="So many fetches are due at the same moment.")
]
MaxInFlightOption = Annotated[
    int | None,
    typer.Option(
        "--max-in-flight",
        min=1,
        max=4096,
        help="At most so many fetches of an open loop are under way; the others wait, which counts. 64 by default.",
    ),
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", min=1, max=64, help="Client processes that share the load.")
]

RowsOption = Annotated[int, typer.Option("--rows", min=1, max=2**24, help="Rows of a fetch.")]
ZipfOption = Annotated[
    float | None,
    typer.Option(
        "--zipf",
        metavar="S",
        min=0.01,
        max=10,
        help="Rows by Zipf's law, the r-th most wanted with weight r^-S; without it every row alike.",
    ),
]
TextOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--text",
        metavar="FILE",
        help="Rows that this text looks up, by the tokenizer of DeepSeek V4 and the table's hash. May be given "
        "several times.",
    ),
]
TokensOption = Annotated[
    int, typer.Option("--tokens", min=1, max=10_000_000, help="At most so many tokens of the texts are read.")
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", metavar="DIR", help="Hash texts as config.json there says; by default as DeepSeek-V4.1."
    ),
]
VocabSizeOption = Annotated[
    int | None,
    typer.Option("--vocab-size", min=1, max=2**32, help="Hash texts as DeepSeek-V4.1 with heads of so many rows."),
]
LayerOption = Annotated[
    int | None, typer.Option("--layer", min=0, help="Hash texts for this layer; by default the hash's first.")
]
FoldOption = Annotated[
    bool, typer.Option("--fold", help="Take the rows of a text modulo the table's size, whatever the table's hash.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of rows and arrivals.")]

WarmUpOption = Annotated[
    float, typer.Option("--warm-up", metavar="TIME", parser=parse_duration, help="Load before the measured time.")
]
DurationOption = Annotated[
    float, typer.Option("--duration", metavar="TIME", parser=parse_positive_duration, help="The measured time.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="TIME", parser=parse_positive_duration, help="Time limit of a fetch.")
]

CheckOption = Annotated[
    Check | None,
    typer.Option(
        "--check",
        help="Compare rows with the formula of `create --fill index`, with the copy in --root, with what they were "
        "before, or not at all; by default the first of these that can be.",
    ),
]
RootOption = Annotated[
    Path | None, typer.Option("--root", metavar="ROOT", help="Data root on this host with the same version.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as one JSON object; - is stdout.")
]

"""From the options of `plan` to what is to be planned; refuses those that do not go together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from store_server.commands.plan.load_result import rate_from_load
from store_server.commands.plan.node_rate import DEFAULT_RATE, Cost, flat
from store_server.commands.plan.presets import PRESETS
from store_server.commands.plan.workload import Model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store_server.commands.plan.node_rate import NodeRate


def require_one_question(tokens_per_second: float | None, nodes: int | None) -> None:
    """Refuse both questions at once, and none."""
    if tokens_per_second is None and nodes is None:
        raise typer.BadParameter("give --tokens-per-second, such as 1M, or --nodes to see what they sustain")
    if tokens_per_second is not None and nodes is not None:
        raise typer.BadParameter("--tokens-per-second asks for nodes and --nodes for tokens: leave one out")


def require_above_zero(sizes: dict[str, int | None]) -> None:
    """Refuse a size of nothing."""
    for option, size in sizes.items():
        if size is not None and size < 1:
            raise typer.BadParameter(f"{option} must be above 0, got {size}")


def asked_model(
    name: str | None,
    *,
    rows_a_token: int | None,
    row_bytes: int | None,
    table_bytes: int | None,
    tables: int | None,
) -> Model:
    """Return the model that is named, or the one that the numbers describe."""
    numbers = {"--rows-a-token": rows_a_token, "--row-bytes": row_bytes, "--table-bytes": table_bytes}
    given = [option for option, value in {**numbers, "--tables": tables}.items() if value is not None]
    if not given:
        return PRESETS[name or "v41-flash"]
    if name is not None:
        raise typer.BadParameter(f"--model {name} says what {given[0]} says: leave one out")
    if rows_a_token is None or row_bytes is None or table_bytes is None:
        missing = [option for option, value in numbers.items() if value is None]
        raise typer.BadParameter(f"another model than the known ones needs {', '.join(missing)} as well")
    if table_bytes < row_bytes:
        raise typer.BadParameter(f"--table-bytes {table_bytes} is less than one row of --row-bytes {row_bytes}")
    return Model(
        name="a model of your own",
        num_tables=tables or 1,
        table_bytes=table_bytes,
        rows_a_token=rows_a_token,
        row_bytes=row_bytes,
    )


def asked_rate(
    files: Sequence[Path] | None, *, rows_per_second: float | None, client_microseconds: float | None
) -> NodeRate:
    """Return what lookups cost: measured, given, or the default; raises CommandFailed for a file that cannot say."""
    given = {"--rows-per-second-a-node": rows_per_second, "--client-us-a-row": client_microseconds}
    if files:
        for option, value in given.items():
            if value is not None:
                raise typer.BadParameter(f"{option} and --from-load say the same: leave one out")
        return rate_from_load(files)
    rate = DEFAULT_RATE
    if client_microseconds is not None:
        rate = replace(rate, client=Cost(0.0, client_microseconds / 1e6))
    if rows_per_second is not None:
        rate = replace(rate, node=flat(rows_per_second), sizes=(), row_bytes=None, remark="")
    return rate

"""What `create`, `import` and `attach` print about the version they published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from store_server.storage import TableSpec


def print_published(name: str, version: str, spec: TableSpec, *, is_unchanged: bool = False) -> None:
    """Print one value a line on stdout, and whether the table had this very version before."""
    typer.echo(f"table    {name}")
    typer.echo(f"version  {version}")
    typer.echo(f"rows     {spec.num_rows:,}")
    typer.echo(f"bytes    {spec.num_rows * spec.row_bytes:,}")
    if is_unchanged:
        typer.echo(f"unchanged: version {version} is already current")

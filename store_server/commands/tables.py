"""`engram-store tables`: what a data root holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from store_server.commands.arguments import Root
from store_server.commands.failure import CommandFailed
from store_server.storage import DataRoot, TableDamaged

_COLUMNS = ("name", "rows", "row_bytes", "bytes", "row_format", "backend", "version", "versions")


def tables(
    root: Root,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a table and line.")] = False,
) -> None:
    """List all tables with their current version; a damaged one is named on stderr."""
    data_root = DataRoot.open(root)
    described, damaged = [], []
    for name in data_root.table_names():
        try:
            described.append(_describe(data_root, name))
        except TableDamaged as error:
            damaged.append(error)
    _print(described, as_json=as_json)
    if damaged:
        raise CommandFailed("; ".join(str(error) for error in damaged))


def _print(described: list[dict[str, str | int]], *, as_json: bool) -> None:
    if as_json:
        for table in described:
            typer.echo(json.dumps(table))
        return
    lines = [_COLUMNS, *(tuple(str(table[column]) or "-" for column in _COLUMNS) for table in described)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _describe(root: DataRoot, name: str) -> dict[str, str | int]:
    version = root.current_version(name)
    manifest = root.stored_version(name, version).manifest
    return {
        "name": name,
        "rows": manifest.num_rows,
        "row_bytes": manifest.row_bytes,
        "bytes": manifest.num_bytes,
        "row_format": manifest.row_format,
        "backend": manifest.backend,
        "version": version,
        "versions": len(root.versions(name)),
    }

"""`engram-store tables`: what a data root holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from store_server.commands.arguments import Root
from store_server.commands.failure import CommandFailed
from store_server.storage import DataRoot, StorageError, VersionQuarantined
from store_server.storage.held_blocks import held_blocks, held_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = ("name", "rows", "row_bytes", "bytes", "row_format", "backend", "version", "versions", "held_bytes", "state")


def tables(
    root: Root,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a table and line.")] = False,
) -> None:
    """List all tables with their current version.

    The state is "ok", "part" where only some blocks of the current version are held, "damaged" where it cannot be
    served as far as its manifest and the sizes of its files tell, or "quarantined" where it ended the processes that
    read it; then stderr says why, and the exit status is 1. `verify` reads the rows as well.
    """
    data_root = DataRoot.open(root)
    described, errors = [], []
    for name in data_root.table_names():
        table: dict[str, str | int | None] = dict.fromkeys(_COLUMNS)
        described.append(table)
        try:
            table.update(_description(data_root, name))  # what came before an error stays
        except StorageError as error:
            table["state"] = "quarantined" if isinstance(error, VersionQuarantined) else "damaged"
            errors.append(error)
    _print(described, as_json=as_json)
    for reason in errors:
        typer.echo(f"error: {reason}", err=True)
    if errors:
        raise CommandFailed(f"damaged: {len(errors)} of {len(described)} tables")


def _description(root: DataRoot, name: str) -> Iterator[tuple[str, str | int]]:
    """Yield the columns of a table, the surest first; raises StorageError where it is damaged."""
    yield "name", name
    version = root.current_version(name)
    yield "version", version
    yield "versions", len(root.versions(name))
    manifest = root.manifest(name, version)
    yield "rows", manifest.num_rows
    yield "row_bytes", manifest.row_bytes
    yield "bytes", manifest.num_bytes
    yield "row_format", manifest.row_format
    yield "backend", manifest.backend
    is_held = held_blocks(root.check_files(name, manifest))
    yield "held_bytes", held_bytes(manifest, is_held)
    yield "state", "ok" if is_held.all() else "part"


def _print(described: list[dict[str, str | int | None]], *, as_json: bool) -> None:
    if as_json:
        for table in described:
            typer.echo(json.dumps(table))
        return
    lines = [_COLUMNS, *(tuple(_cell(table[column]) for column in _COLUMNS) for table in described)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: str | int | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return value or "-"

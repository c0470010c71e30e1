"""`engram-store patch`: the next version of a table, with some rows replaced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store_server.commands.arguments import Root, TableName
from store_server.commands.interruption import BeforePublishing
from store_server.commands.rows_for_patch import read_patch
from store_server.storage import DataRoot, root_writer
from store_server.storage.patch_writer import require_patchable, write_patch

if TYPE_CHECKING:
    from store_server.storage.patch_writer import PatchOutcome

EXAMPLES = (
    "engram-store patch ./data demo/layer-1 --ids ids.npy --rows rows.npy",
    "engram-store patch ./data demo/layer-1 --ids ids.npy --rows rows.npy --base 0123456789abcdef0123456789abcdef",
)


def patch(
    root: Root,
    name: TableName,
    ids: Annotated[Path, typer.Option("--ids", help="Row numbers, a .npy (n,).", show_default=False)],
    rows: Annotated[
        Path,
        typer.Option(
            "--rows", help="Their rows, a .npy (n, width): uint8 as they are stored, or floats.", show_default=False
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", help="Version that has the other rows; by default the current.", show_default=False),
    ] = None,
) -> None:
    """Make a version in which some rows are replaced; it becomes current, and the base stays until it is dropped.

    The blocks that hold the rows are written, and no others: those the new version shares with its base, also when that
    is dropped later. Floats are encoded in the row format of the table. When anything is wrong with the files, nothing
    is stored. Rows are held in memory meanwhile.
    """
    data_root = DataRoot.open(root)  # so that a mistyped root is not created
    with root_writer(root) as writer:
        with BeforePublishing():
            stored = data_root.stored_version(name, base or data_root.current_version(name))
            require_patchable(stored)
            replaced = read_patch(ids, rows, stored.manifest)
        outcome = write_patch(writer, stored, replaced)
    _print(name, stored.version, len(replaced.ids), outcome)


def _print(name: str, base: str, num_given: int, outcome: PatchOutcome) -> None:
    typer.echo(f"table    {name}")
    typer.echo(f"base     {base}")
    typer.echo(f"version  {outcome.version}")
    typer.echo(
        f"changed  {outcome.rows_changed:,} of the {num_given:,} rows given, in {outcome.blocks_changed:,} blocks"
    )
    typer.echo(f"bytes    {outcome.bytes_written:,} written")
    if outcome.is_copied:
        typer.echo("note     the file system gives no second name to the base's file: it was copied")
    if outcome.is_whole:
        typer.echo("note     more than half of the blocks differ from the base's file: all were written anew")
    if outcome.is_unchanged:
        typer.echo(f"unchanged: version {outcome.version} is already current")

"""`engram-store drop`: remove an old version of a table, or the whole table."""

from __future__ import annotations

from typing import Annotated

import typer

from store_server.commands.arguments import Root, TableName
from store_server.storage import DataRoot, root_writer

EXAMPLES = (
    "engram-store drop ./data demo/layer-1 0123456789abcdef0123456789abcdef",
    "engram-store drop ./data demo/layer-1 --all",
)


def drop(
    root: Root,
    name: TableName,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Version to remove.", show_default=False)
    ] = None,
    all_versions: Annotated[
        bool, typer.Option("--all", help="Remove the table with all its versions, the current one included.")
    ] = False,
) -> None:
    """Remove a version of a table that is not current, or with --all the whole table. There is no way back.

    A node notices within seconds; clients that still read the version get VersionNotFound, or TableNotFound. A process
    that has the files open keeps them. The files of an attached checkpoint stay where they are.
    """
    if (version is None) == (not all_versions):
        raise typer.BadParameter(f"name a VERSION of {name}, or give --all to remove the whole table")
    DataRoot.open(root)  # so that a mistyped root is not created
    with root_writer(root) as writer:
        if version is None:
            writer.drop_table(name)
        else:
            writer.drop(name, version)
    typer.echo(f"dropped {name} {version or 'with all its versions'}")

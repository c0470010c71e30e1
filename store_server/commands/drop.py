"""`engram-store drop`: remove a version that is not current."""

from __future__ import annotations

from typing import Annotated

import typer

from store_server.commands.arguments import Root, TableName
from store_server.storage import DataRoot, root_writer


def drop(
    root: Root,
    name: TableName,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Version to remove.", show_default=False)],
) -> None:
    """Remove a version of a table, but not the current one.

    Clients of a node that still read it get VersionNotFound and refresh; a process that has its files open keeps them.
    """
    DataRoot.open(root)  # so that a mistyped root is not created
    with root_writer(root) as writer:
        writer.drop(name, version)
    typer.echo(f"dropped {name} {version}")

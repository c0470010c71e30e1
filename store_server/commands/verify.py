"""`engram-store verify`: compare what is stored with what was published."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from store_server.commands.arguments import Root, VersionOption
from store_server.commands.failure import CommandFailed
from store_server.commands.progress import progress_bar
from store_server.storage import DataRoot, TableDamaged, verify


def verify_tables(
    root: Root,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Table; by default all.")] = None,
    version: VersionOption = None,
) -> None:
    """Read every block and compare its digest; names the first bad block of each version.

    The first time, the digests of an attached checkpoint are recorded.
    """
    if version is not None and name is None:
        raise typer.BadParameter("--version needs the NAME of a table")
    data_root = DataRoot.open(root)
    names = data_root.table_names() if name is None else [name]
    damaged = [table for table in names if not _is_intact(data_root, table, version)]
    if damaged:
        raise CommandFailed(f"damaged: {', '.join(damaged)}")


def _is_intact(root: DataRoot, name: str, version: str | None) -> bool:
    """Verify one version and print the outcome."""
    try:
        version = version or root.current_version(name)
        manifest = root.manifest(name, version)
        with progress_bar(f"verifying {name}", manifest.num_bytes) as advance:
            done = 0
            for progress in verify(root, name, version):
                advance(progress.bytes_done - done)
                done = progress.bytes_done
    except TableDamaged as error:
        sys.stderr.write(f"error: {error}\n")
        return False
    # Nobody had read all rows of an attached checkpoint before; from now on they are compared with what they are now.
    outcome = "recorded" if manifest.is_attached and not manifest.block_digests else "ok"
    typer.echo(f"{outcome}  {name}  {version}  {manifest.num_blocks} blocks  {manifest.num_bytes} bytes")
    return True

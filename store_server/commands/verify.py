"""`engram-store verify`: compare what is stored with what was published."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from store_server.commands.arguments import Root
from store_server.commands.failure import CommandFailed
from store_server.commands.progress import progress_bar
from store_server.storage import BlockDamaged, DataRoot, StorageError, TableNotFound, verify
from store_server.storage.held_blocks import held_blocks, held_bytes
from store_server.storage.version_quarantine import lift_quarantine

EXAMPLES = (
    "engram-store verify ./data",
    "engram-store verify ./data demo/layer-1",
)


def verify_tables(
    root: Root,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Table; by default all.")] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", show_default=False, help="Version of the table; by default all that a node serves."),
    ] = None,
) -> None:
    """Read every block and compare its digest; name the first bad block of each version.

    All versions that a node would serve are read, the current one and older ones; what is wrong with one keeps no other
    from being read, and in the end the exit status is 1. Of a version that is held in part, the blocks that are held
    are read. A line for each begins with ok, recorded, damaged, unreadable or quarantined. The first time, the digests
    of an attached checkpoint are recorded.

    A version that ended two processes of a node is in quarantine, and served by nobody: found intact, it leaves it.
    """
    if version is not None and name is None:
        raise typer.BadParameter("--version needs the NAME of a table")
    data_root = DataRoot.open(root)
    names = data_root.table_names() if name is None else [name]
    bad = [bad for table in names for bad in _bad_versions(data_root, table, version)]
    if bad:
        raise CommandFailed(f"damaged or unreadable: {', '.join(bad)}")


def _bad_versions(root: DataRoot, name: str, version: str | None) -> list[str]:
    """Verify the versions of a table, or one of them; returns what is not intact."""
    if version is not None:
        root.version_path(name, version)  # raises VersionNotFound
        versions = [version]
    else:
        try:
            # CURRENT may name one that is not there.
            versions = sorted({*root.versions(name), root.current_version(name)})
        except TableNotFound:
            raise
        except StorageError as error:
            _print_unreadable(name, None, error)
            return [name]
    return [f"{name} {each}" for each in versions if not _is_intact(root, name, each)]


def _is_intact(root: DataRoot, name: str, version: str) -> bool:
    """Verify one version and print the outcome."""
    try:
        manifest = root.manifest(name, version)
        stored = root.stored_version(name, version, also_quarantined=True)
        is_held = held_blocks(stored)
        num_bytes = held_bytes(manifest, is_held)
        with progress_bar(f"verifying {name}", num_bytes) as advance:
            done = 0
            for progress in verify(root, name, version):
                advance(progress.bytes_done - done)
                done = progress.bytes_done
    except BlockDamaged as bad:
        rows = f"rows {bad.first_row:,} to {bad.last_row:,}"
        place = f"{bad.path}, from byte {bad.byte_offset:,}"
        sys.stderr.write(f"error: {name}: block {bad.block:,} ({rows}) is not what was stored: {place}\n")
        typer.echo(f"damaged  {name}  {version}  block {bad.block:,}  {rows}")
        return False
    except StorageError as error:
        _print_unreadable(name, version, error)
        return False
    # Nobody had read all rows of an attached checkpoint before; from now on they are compared with what they are now.
    outcome = "recorded" if manifest.is_attached and not manifest.block_digests else "ok"
    blocks = f"{manifest.num_blocks:,} blocks" if is_held.all() else f"{is_held.sum():,} of {len(is_held):,} blocks"
    try:
        lifted = "  quarantine lifted" if lift_quarantine(stored) else ""
    except StorageError as error:
        sys.stderr.write(f"error: {name}: intact, and in quarantine still: {error}\n")
        typer.echo(f"quarantined  {name}  {version}")
        return False
    typer.echo(f"{outcome}  {name}  {version}  {blocks}  {num_bytes:,} bytes{lifted}")
    return True


def _print_unreadable(name: str, version: str | None, error: StorageError) -> None:
    """Say what is wrong on stderr, and on stdout that this is an outcome, too; no version where none can be known."""
    sys.stderr.write(f"error: {error}\n")
    typer.echo(f"unreadable  {name}  {version or '-'}")

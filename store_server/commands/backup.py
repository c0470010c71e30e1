"""`engram-store backup`: a data root once more, on another disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store_server.backup.backup import backup_into
from store_server.backup.outcome import Outcome
from store_server.commands.arguments import Root
from store_server.commands.byte_size import parse_byte_size
from store_server.commands.failure import CommandFailed
from store_server.commands.progress import progress_bar_when_it_begins
from store_server.counted import counted
from store_server.storage import DataRoot
from store_server.storage.data_root import TABLES

if TYPE_CHECKING:
    from store_server.backup.outcome import BackedUp

EXAMPLES = (
    "engram-store backup ./data ./backup",
    "engram-store backup ./data ./backup --rate 200MiB --prune",
    "engram-store verify ./backup",
)


def backup(
    root: Root,
    to: Annotated[
        Path, typer.Argument(metavar="TO", help="Directory for the backup, better on another disk.", show_default=False)
    ],
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate",
            metavar="BYTES",
            parser=parse_byte_size,
            help="Bytes a second, such as 200MiB, at which rows are read; by default there is no limit.",
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove from TO what ROOT has no more, once all else is there.")
    ] = False,
) -> None:
    """Copy all versions of all tables to TO, which is a data root itself: `serve` takes it as it is.

    ROOT may be served and changed meanwhile. Each block is compared with its digest as it is copied, and a version
    appears in TO once it is whole. What TO has already is not copied again, and an interrupted backup goes on where it
    was. Nothing that is in TO is removed without --prune.

    The rows of an attached checkpoint stay in its files, which want a backup of their own. What cannot be read keeps
    nothing else from being copied, and in the end the exit status is 1.
    """
    data_root = DataRoot.open(root)
    _check_place(root, to)
    if rate is not None and rate < 1:
        raise typer.BadParameter("must be at least 1 byte a second", param_hint="--rate")
    if prune and not data_root.table_names():
        raise CommandFailed(f"{root} has no tables: --prune would remove all that is in {to}")
    num_versions = num_bytes = 0
    with backup_into(data_root, to, bytes_per_second=rate) as backing_up:
        for each in backing_up.run(progress_bar_when_it_begins, prune=prune):
            _print(each)
            num_versions += not each.is_lacking and each.outcome is not Outcome.REMOVED
            num_bytes += each.num_bytes
    typer.echo(f"backup   {to}  {counted(num_versions, 'version')}, {num_bytes:,} bytes copied")
    if backing_up.lacking:
        kept = "; nothing was removed" if prune else ""
        raise CommandFailed(f"the backup lacks {counted(backing_up.lacking, 'version')}, see above{kept}")


def _check_place(root: Path, to: Path) -> None:
    """Raise CommandFailed if a backup in `to` would lie in the root, or among somebody else's files."""
    one, other = root.resolve(), to.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise CommandFailed(f"{to} and {root} must lie apart: neither is to be in the other")
    if to.is_dir() and any(to.iterdir()) and not (to / TABLES).is_dir() and not (to / "incoming").is_dir():
        raise CommandFailed(f"{to} is neither empty nor a data root: name a new directory, or that of an older backup")


def _print(each: BackedUp) -> None:
    """Say what became of a version; why it is lacking, on stderr."""
    if each.error is not None:
        typer.echo(f"error: {each.error}", err=True)
    if each.outcome is not Outcome.THERE:
        rows = f"  {each.num_bytes:,} bytes" if each.outcome is Outcome.COPIED else ""
        rows = "  its rows stay in the checkpoint's files" if each.outcome is Outcome.ATTACHED else rows
        typer.echo(f"{each.outcome.value:<9} {each.table}  {each.version or '-'}{rows}")

"""`engram-store attach`: tables whose rows stay where they are, in the files of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from store_server.commands.arguments import Root, TableName
from store_server.commands.failure import CommandFailed
from store_server.commands.published import print_published
from store_server.storage import TableSpec, check_table_name, root_writer
from store_server.storage.checkpoint import read_checkpoint

EXAMPLES = (
    "engram-store attach ./data v41-flash --checkpoint ./DeepSeek-V4.1-Flash",
    "engram-store verify ./data v41-flash/layer-1    # reads all rows and records their digests",
)


def attach(
    root: Root,
    name: TableName,
    checkpoint: Annotated[
        Path,
        typer.Option(
            "--checkpoint",
            metavar="DIR",
            help="Checkpoint of an Engram model: config.json, index, files.",
            show_default=False,
        ),
    ],
) -> None:
    """Make tables of a checkpoint that lie where they are: NAME/layer-1 and so on, one a layer. Nothing is copied.

    First all is checked but the rows: the config's keys and row counts, the index, the headers, and the tokenizer if
    the checkpoint has one. The files must stay as they are; one that is written to is no longer served until it is
    attached again.

    A version is named by the headers, the sizes, the index and 32 KiB of rows of each tensor. So a retrained checkpoint
    gets another name, unless it differs only in rows between those; `verify` reads all rows. What was attached before
    stays beside it as an old version until it is dropped.
    """
    check_table_name(name)
    if not checkpoint.is_dir():
        raise CommandFailed(f"{checkpoint}: no such directory; --checkpoint takes the one with config.json in it")
    found = read_checkpoint(checkpoint)
    manifests = {f"{name}/layer-{layer}": manifest for layer, manifest in found.manifests.items()}
    with root_writer(root) as writer:
        unchanged = writer.attach(manifests)
    for table, manifest in manifests.items():
        spec = TableSpec(num_rows=manifest.num_rows, row_bytes=manifest.row_bytes)
        print_published(table, manifest.version, spec, is_unchanged=table in unchanged)
        typer.echo(f"fingerprint  {manifest.fingerprint or '-'}")
    if found.unknown_hashing:
        typer.echo(f"note     no fingerprint: {found.unknown_hashing}")

"""`engram-store attach`: tables whose rows stay where they are, in the files of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from store_server.commands.arguments import Root, TableName
from store_server.commands.published import print_published
from store_server.storage import TableSpec, check_table_name, root_writer
from store_server.storage.checkpoint import read_checkpoint


def attach(
    root: Root,
    name: TableName,
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", metavar="DIR", help="Checkpoint of an Engram model.", show_default=False)
    ],
) -> None:
    """Serve the tables of a checkpoint as they lie: one table a layer, NAME/layer-1 and so on. Nothing is copied.

    Everything but the rows is checked first: the config's keys and row counts, the index, the headers, and the
    tokenizer if the checkpoint has one. `verify` reads the rows.
    """
    check_table_name(name)
    found = read_checkpoint(checkpoint)
    manifests = {f"{name}/layer-{layer}": manifest for layer, manifest in found.manifests.items()}
    with root_writer(root) as writer:
        writer.attach(manifests)
    for table, manifest in manifests.items():
        print_published(table, manifest.version, TableSpec(num_rows=manifest.num_rows, row_bytes=manifest.row_bytes))
        typer.echo(f"hashing  {manifest.fingerprint or 'unknown'}")
    if found.unknown_hashing:
        typer.echo(f"note     no fingerprint: {found.unknown_hashing}")

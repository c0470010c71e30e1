"""`engram-store synth-checkpoint`: a made-up checkpoint in the layout of DeepSeek-V4.1-Flash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from store_server.commands.failure import CommandFailed
from store_server.commands.progress import progress_bar
from store_server.storage.checkpoint import SyntheticCheckpoint, write_checkpoint

EXAMPLES = (
    "engram-store synth-checkpoint ./small --scale 0.001",
    "engram-store synth-checkpoint ./full-size --scale 1 --sparse",
)


def synth_checkpoint(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty directory.", show_default=False)],
    scale: Annotated[float, typer.Option("--scale", help="Of the tables: 1 is full size, 0.001 about 100 MB a layer.")],
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Write rows at both ends and around 2^31 byte borders only; else holes.")
    ] = False,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="A tokenizer.json to copy; sets the compressed size.")
    ] = None,
) -> None:
    """Write config.json, the index, and the files with the tables of layers 1 and 14; rows follow a formula.

    The formula is that of store_server.storage.checkpoint.synthetic_rows. The backbone and the fusion's wkv are left
    out.
    """
    size = {} if tokenizer is None else {"compressed_vocab_size": _compressed_size(tokenizer)}
    made_up = SyntheticCheckpoint(scale=scale, **size)
    shards = made_up.shards()
    rows = [len(shard.landmarks()) if sparse else shard.num_rows for shard in shards]
    with progress_bar(f"writing {directory.name}", sum(rows) * made_up.row_bytes) as advance:
        write_checkpoint(directory, made_up, sparse=sparse, tokenizer=tokenizer, advance=advance)
    for shard, written in zip(shards, rows, strict=True):
        typer.echo(f"{shard.file_name}  layer {shard.layer}  {shard.num_rows} rows, {written} written")


def _compressed_size(tokenizer: Path) -> int:
    from engram_client.compression import compress_vocabulary

    try:
        return compress_vocabulary(tokenizer)[1]
    except Exception as error:  # the tokenizers library raises nothing more special
        raise CommandFailed(f"{tokenizer}: not a tokenizer that can be compressed: {error}") from error

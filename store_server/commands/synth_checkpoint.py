"""`engram-store synth-checkpoint`: a made-up checkpoint in the layout of DeepSeek-V4.1-Flash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from store_server.commands.failure import CommandFailed
from store_server.commands.progress import progress_bar
from store_server.storage import InvalidTableSpec
from store_server.storage.checkpoint import SyntheticCheckpoint, write_checkpoint

EXAMPLES = (
    "engram-store synth-checkpoint ./small --scale 0.001",
    "engram-store synth-checkpoint ./full-size --scale 1 --sparse",
)


def synth_checkpoint(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty directory.", show_default=False)],
    scale: Annotated[
        float,
        typer.Option(
            "--scale",
            show_default=False,
            help="Size of the tables: 1 is that of the release, 2 of 101 GB, 0.001 about 100 MB each.",
        ),
    ],
    sparse: Annotated[
        bool,
        typer.Option(
            "--sparse",
            help="Write only the rows at both ends, at the first row of each head, and around multiples of 2^31 bytes "
            "and rows. The rest is holes: full size, a few MB on the disk.",
        ),
    ] = False,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", help="A tokenizer.json to copy; the compressed size in the config follows it."),
    ] = None,
) -> None:
    """Write a made-up checkpoint in the layout of DeepSeek-V4.1-Flash, to try `attach` and `serve` on.

    That is config.json, the index, and the files with the tables of layers 1 and 14 and the weights of their fusion,
    the model's width scaled like the tables; the backbone is left out. Rows follow the formula of
    store_server.storage.checkpoint.synthetic_rows; with --sparse the fusion's wkv is a hole.
    """
    size = {} if tokenizer is None else {"compressed_vocab_size": _compressed_size(tokenizer)}
    try:
        made_up = SyntheticCheckpoint(scale=scale, **size)
    except InvalidTableSpec as error:  # about `scale`
        raise typer.BadParameter(f"--{error}") from error
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
    except (ImportError, ValueError) as error:
        raise CommandFailed(f"--tokenizer: {error}") from error

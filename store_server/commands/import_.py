"""`engram-store import`: a new table, or a new version of one, from a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from store_server.commands.arguments import (
    BackendName,
    BackendOption,
    FingerprintOption,
    Root,
    TableName,
)
from store_server.commands.progress import progress_bar
from store_server.commands.published import print_published
from store_server.commands.quantize import QuantizedRows, quantized
from store_server.storage import TableSpec, root_writer
from store_server.storage.sources import open_source


def import_table(
    root: Root,
    name: TableName,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help=".npy, .safetensors, or raw bytes.", show_default=False)
    ],
    tensor: Annotated[str | None, typer.Option("--tensor", help="2-D tensor of a .safetensors file.")] = None,
    row_bytes: Annotated[int | None, typer.Option("--row-bytes", help="Width of a row of raw bytes.")] = None,
    row_format: Annotated[
        str | None, typer.Option("--row-format", help="What the bytes mean; by default what the file says.")
    ] = None,
    stored_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Store floats in this row format and report the error: float32, float16, bfloat16, float8_e4m3 (finds "
            "one scale for the table), float8_e4m3*0x1.8p-7 (is given it), float8_e4m3+e8m0/32 or int8+float16/32.",
        ),
    ] = None,
    fingerprint: FingerprintOption = "",
    backend: BackendOption = BackendName.mmap,
) -> None:
    """Import a table from a file; a table that is there gets a new version, which becomes current."""
    given = open_source(source, tensor=tensor, row_bytes=row_bytes)
    if row_format is not None:
        given = replace(given, row_format=row_format)
    rows = given if stored_format is None else quantized(given, stored_format)
    spec = TableSpec(
        num_rows=rows.num_rows, row_bytes=rows.row_bytes, row_format=rows.row_format, fingerprint=fingerprint
    )
    with (
        root_writer(root) as writer,
        writer.new_version(name, spec, backend=backend.value) as version_writer,
        progress_bar(f"importing {source.name}", spec.num_rows * spec.row_bytes) as advance,
    ):
        for piece in rows.pieces():
            version_writer.append(piece)
            advance(piece.size)
        version = version_writer.publish()
    print_published(name, version, spec)
    if isinstance(rows, QuantizedRows):
        _print_error(rows)


def _print_error(rows: QuantizedRows) -> None:
    typer.echo(f"format   {rows.row_format}")
    typer.echo(f"max err  {rows.error.largest:.9g}")
    typer.echo(f"rms err  {rows.error.root_mean_square:.9g}")
    typer.echo(f"cosine   {rows.error.mean_cosine:.9g}")

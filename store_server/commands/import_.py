"""`engram-store import`: a new table, or a new version of one, from a file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store_server.commands.arguments import (
    ROW_FORMATS_HELP,
    BackendName,
    BackendOption,
    FingerprintOption,
    Root,
    TableName,
    check_row_bytes,
)
from store_server.commands.interruption import BeforePublishing
from store_server.commands.progress import progress_bar
from store_server.commands.published import print_published
from store_server.commands.quantize import ITEM_BYTES, QuantizedRows, quantized
from store_server.commands.row_format_label import OWN, check_row_format, is_decodable
from store_server.storage import DataRoot, StorageError, TableSpec, check_table_name, root_writer
from store_server.storage.sources import RowsInFile, open_source

if TYPE_CHECKING:
    from store_server.storage.manifest import Manifest

EXAMPLES = (
    "engram-store import ./data demo/layer-1 table.npy",
    "engram-store import ./data demo/layer-1 model.safetensors --tensor embed.weight",
    "engram-store import ./data demo/layer-1 rows.bin --row-bytes 264 --row-format float8_e4m3+e8m0/32",
    "engram-store import ./data demo/layer-1 table.npy --format bfloat16",
)


def import_table(
    root: Root,
    name: TableName,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help=".npy, .safetensors, or raw bytes.", show_default=False)
    ],
    tensor: Annotated[
        str | None, typer.Option("--tensor", help="2-D tensor of a .safetensors file; needed if it has several.")
    ] = None,
    row_bytes: Annotated[
        int | None,
        typer.Option("--row-bytes", callback=check_row_bytes, help="Width of a row of raw bytes, 1 to 1048576."),
    ] = None,
    row_format: Annotated[
        str | None,
        typer.Option("--row-format", help=f"What the bytes mean, where the file does not say: {ROW_FORMATS_HELP}"),
    ] = None,
    stored_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Convert floats to this row format and report the error: float32, float16, bfloat16, float8_e4m3 "
            "(finds one scale for the table), float8_e4m3*0x1.8p-7 (is given it), float8_e4m3+e8m0/32 or "
            "int8+float16/32.",
        ),
    ] = None,
    fingerprint: FingerprintOption = "",
    backend: BackendOption = BackendName.mmap,
) -> None:
    """Import a table from a file; a table that is there gets a new version, which becomes current.

    Rows are stored as they lie in the file unless --format converts them, which refuses NaN, infinity and what the
    format cannot hold. Nothing is stored when anything is wrong with the file. Importing what is current already
    changes nothing.
    """
    check_table_name(name)
    given = open_source(source, tensor=tensor, row_bytes=row_bytes)
    if row_format is not None:
        given = _labelled(given, row_format)
    if stored_format is None:
        rows: RowsInFile | QuantizedRows = _as_they_lie(given, is_labelled=row_format is not None)
    else:
        with BeforePublishing():
            rows = quantized(given, stored_format)
    spec = TableSpec(
        num_rows=rows.num_rows, row_bytes=rows.row_bytes, row_format=rows.row_format, fingerprint=fingerprint
    )
    before_it = _current(root, name)
    with (
        BeforePublishing() as before,
        root_writer(root) as writer,
        writer.new_version(name, spec, backend=backend.value) as version_writer,
        progress_bar(f"importing {source.name}", spec.num_rows * spec.row_bytes) as advance,
    ):
        for piece in rows.pieces():
            version_writer.append(piece)
            advance(piece.size)
        before.end()
        version = version_writer.publish()
    print_published(name, version, spec, is_unchanged=version_writer.is_unchanged)
    if before_it is not None:
        _note_changes(before_it, spec)
    if isinstance(rows, QuantizedRows):
        _print_error(rows)
    elif rows.row_format != given.row_format:
        typer.echo(f"note     {_unlabelled(given.row_format)}")
    elif not rows.row_format and row_bytes is None and row_format is None:
        typer.echo(
            "note     the file does not say of which floats its rows are, if of any: clients get plain bytes; "
            "if you know it, name it, such as --row-format bfloat16"
        )


def _current(root: Path, name: str) -> Manifest | None:
    """Return what is said of the current version, None where there is none that can be read."""
    with suppress(StorageError):
        data_root = DataRoot.open(root)
        return data_root.manifest(name, data_root.current_version(name))
    return None


def _note_changes(before: Manifest, spec: TableSpec) -> None:
    """Say what clients that use the table may not expect of its new version."""
    for what, was, is_now in (
        ("row bytes", f"{before.row_bytes:,}", f"{spec.row_bytes:,}"),
        ("row format", before.row_format or "none", spec.row_format or "none"),
    ):
        if was != is_now:
            typer.echo(f"note     {what} {is_now}, before {was}: clients see that when they look again, see refresh()")


def _labelled(source: RowsInFile, row_format: str) -> RowsInFile:
    """Return the rows of a file as rows of the format that the user names; a file of floats says itself what it has."""
    if source.row_format in ITEM_BYTES and row_format not in ("", source.row_format) and not row_format.startswith(OWN):
        raise typer.BadParameter(
            f"{source.path} holds {source.row_format}, --row-format says {row_format}; leave it out, or convert with "
            "--format"
        )
    return replace(source, row_format=row_format)


def _as_they_lie(source: RowsInFile, *, is_labelled: bool) -> RowsInFile:
    """Return rows that are stored unchanged; what only the file calls by a name that clients do not know gets none."""
    if is_labelled:
        check_row_format(source.row_format, source.row_bytes)
        return source
    return source if is_decodable(source.row_format) else replace(source, row_format="")


def _unlabelled(row_format: str) -> str:
    convert = "; --format float32 converts it" if row_format in ITEM_BYTES else ""
    return (
        f"the file holds {row_format}, which clients do not decode: stored as plain bytes "
        f"(--row-format {OWN}{row_format} would name it{convert})"
    )


def _print_error(rows: QuantizedRows) -> None:
    typer.echo(f"format   {rows.row_format}")
    typer.echo(f"max err  {rows.error.largest:.3g}")
    typer.echo(f"rms err  {rows.error.root_mean_square:.3g}")
    typer.echo(f"cosine   {rows.error.mean_cosine:.6f}")

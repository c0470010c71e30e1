"""`engram-store create`: a new table with made-up rows."""

from __future__ import annotations

from enum import Enum
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
from store_server.commands.row_format_label import check_row_format
from store_server.storage import TableSpec, root_writer
from store_server.storage.fills import index_pieces, random_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


EXAMPLES = ("engram-store create ./data demo/layer-1 --rows 1000000 --row-bytes 264",)


class Fill(Enum):
    """What the rows of a new table hold."""

    index = "index"
    random = "random"


def _check_rows(number: int) -> int:
    if number < 1:
        raise typer.BadParameter(f"must be at least 1, got {number:,}")
    return number


def create(
    root: Root,
    name: TableName,
    rows: Annotated[int, typer.Option("--rows", callback=_check_rows, help="Number of rows.", show_default=False)],
    row_bytes: Annotated[
        int,
        typer.Option(
            "--row-bytes", callback=check_row_bytes, help="Width of a row in bytes, 1 to 1048576.", show_default=False
        ),
    ],
    backend: BackendOption = BackendName.mmap,
    fill: Annotated[
        Fill,
        typer.Option(
            "--fill",
            help="index: 64-bit little-endian word k of row i is (i + k * 0x9E3779B97F4A7C15) mod 2^64; random: from "
            "--seed.",
        ),
    ] = Fill.index,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random rows.")] = 0,
    row_format: Annotated[
        str, typer.Option("--row-format", show_default=False, help=f"What the bytes mean: {ROW_FORMATS_HELP}")
    ] = "",
    fingerprint: FingerprintOption = "",
) -> None:
    """Create a table with rows that can be checked by formula, or with random ones."""
    check_row_format(row_format, row_bytes)
    spec = TableSpec(num_rows=rows, row_bytes=row_bytes, row_format=row_format, fingerprint=fingerprint)
    with BeforePublishing() as before, root_writer(root) as writer:
        writer.require_new(name)
        with (
            writer.new_version(name, spec, backend=backend.value) as version_writer,
            progress_bar(f"creating {name}", rows * row_bytes) as advance,
        ):
            for piece in _pieces(spec, fill, seed):
                version_writer.append(piece)
                advance(piece.size)
            before.end()
            version = version_writer.publish()
    print_published(name, version, spec)


def _pieces(spec: TableSpec, fill: Fill, seed: int) -> Iterator[NDArray[np.uint8]]:
    if fill is Fill.index:
        return index_pieces(spec.num_rows, spec.row_bytes)
    return random_pieces(spec.num_rows, spec.row_bytes, seed)

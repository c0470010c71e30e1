"""The rows of a patch as its two files give them: row numbers, and rows as bytes or as floats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from store_server.commands.failure import CommandFailed
from store_server.commands.quantize import ITEM_BYTES, values_of
from store_server.storage import InvalidPatch
from store_server.storage.files.regular_file import fault_of_path
from store_server.storage.row_patch import RowPatch, check_ids, row_patch
from store_server.storage.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage import Manifest
    from store_server.storage.sources import RowsInFile


def read_patch(ids_path: Path, rows_path: Path, manifest: Manifest) -> RowPatch:
    """Return the patch of a version that two .npy files are; raises CommandFailed, InvalidSource, InvalidPatch.

    The rows are uint8 as wide as a row, taken as they are, or finite floats, which are encoded in the row format of the
    table.
    """
    ids = _ids(ids_path)
    try:
        check_ids(ids, manifest.num_rows)
    except InvalidPatch as error:
        raise InvalidPatch(f"{ids_path}: {error}") from error
    if rows_path.suffix.lower() != ".npy":
        raise CommandFailed(f"{rows_path}: rows of a patch come as .npy")
    source = open_source(rows_path)
    if source.num_rows != len(ids):
        raise CommandFailed(f"{rows_path} has {source.num_rows:,} rows, {ids_path} has {len(ids):,} ids")
    rows = np.empty((len(ids), manifest.row_bytes), np.uint8)
    if source.row_format in ITEM_BYTES:
        _encode_into(rows, source, ids, manifest)
    else:
        _copy_into(rows, source, manifest)
    return row_patch(ids, rows, manifest)


def _ids(path: Path) -> NDArray[np.integer[Any]]:
    if fault := fault_of_path(path):
        raise CommandFailed(f"{path}: {fault}")
    try:
        ids = np.load(path, allow_pickle=False)
    except OSError as error:  # which does not say of what file
        raise CommandFailed(f"{path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise CommandFailed(f"{path}: not a .npy file of row numbers: {error}") from error
    if not isinstance(ids, np.ndarray):
        raise CommandFailed(f"{path}: not a .npy file of row numbers, but an archive of several arrays")
    return ids


def _copy_into(rows: NDArray[np.uint8], source: RowsInFile, manifest: Manifest) -> None:
    dtype = np.load(source.path, mmap_mode="r", allow_pickle=False).dtype
    if dtype != np.uint8 or source.row_bytes != manifest.row_bytes:
        found = f"{dtype}, {source.row_bytes:,} bytes a row"
        floats = f", or floats that are encoded as {manifest.row_format}" if manifest.row_format else ""
        raise CommandFailed(f"{source.path}: expected uint8, {manifest.row_bytes:,} bytes a row{floats}, found {found}")
    first = 0
    for piece in source.pieces():
        rows[first : first + len(piece)] = piece
        first += len(piece)


def _encode_into(
    rows: NDArray[np.uint8], source: RowsInFile, ids: NDArray[np.integer[Any]], manifest: Manifest
) -> None:
    from engram_client import formats

    row_format, found = manifest.row_format, f"{source.path} holds {source.row_format}"
    width = source.row_bytes // ITEM_BYTES[source.row_format]
    if not row_format:
        raise CommandFailed(
            f"{found}, and the table has no row format to encode it in: give uint8, {manifest.row_bytes:,} bytes a row"
        )
    try:
        row_bytes = formats.row_bytes(row_format, width)
    except ValueError as error:
        raise CommandFailed(
            f"{found}, the table has the row format {row_format!r} to encode it in ({error}): give uint8 rows"
        ) from error
    if row_bytes != manifest.row_bytes:
        raise CommandFailed(
            f"{found}, {width:,} values a row, which are {row_bytes:,} bytes as {row_format}; a row of the table has "
            f"{manifest.row_bytes:,}"
        )
    for first, values in values_of(source):
        is_fine = np.isfinite(values)
        if not is_fine.all():
            row, column = divmod(int(np.argmin(is_fine)), width)
            value = float(values[row, column])
            raise CommandFailed(_refused(source, ids, first + row, column, value, "only finite values are encoded"))
        try:
            rows[first : first + len(values)] = formats.encode(values, row_format)
        except formats.Unstorable as error:
            reason = f"{row_format} {error.reason}"
            refused = _refused(source, ids, first + error.row, error.column, error.value, reason)
            raise CommandFailed(refused) from error


def _refused(
    source: RowsInFile, ids: NDArray[np.integer[Any]], place: int, column: int, value: float, reason: str
) -> str:
    return f"{source.path}: id {ids[place]} (number {place} of the rows), column {column} is {value!r}: {reason}"

"""Rows of a file in another row format, streamed, with the error that this introduces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from store_server.commands.failure import CommandFailed
from store_server.commands.introduced_error import IntroducedError
from store_server.commands.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.sources import RowsInFile

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
_ONE_SCALE = "float8_e4m3"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedRows:
    """The rows of a file of floats as rows of `row_format`. Made by `quantized`."""

    source: RowsInFile
    row_format: str
    row_bytes: int
    error: IntroducedError = field(default_factory=IntroducedError)
    """Of the pieces that were taken so far."""

    @property
    def num_rows(self) -> int:
        """As many as the file has."""
        return self.source.num_rows

    def pieces(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all rows in order, (n, row_bytes) uint8; raises CommandFailed for a value that the format refuses."""
        return _encoded(self.source, self.row_format, self.error)


def quantized(source: RowsInFile, row_format: str) -> QuantizedRows:
    """Return the rows of a file as they will be in `row_format`.

    `float8_e4m3` without a scale gets the one that the file's largest magnitude needs; the whole file is read for it.
    Raises CommandFailed when the file holds no floats or the format has no rows of their width.
    """
    from engram_client import formats

    width = _width(source)
    try:
        known = formats.find_format(row_format)
        row_bytes = formats.row_bytes(row_format, width)
    except ValueError as error:
        raise CommandFailed(f"{source.path}: {error}") from error
    if row_format == _ONE_SCALE:
        known = formats.OneScaleFloat8Rows.reaching(_largest_magnitude(source))
    return QuantizedRows(source=source, row_format=known.name, row_bytes=row_bytes)


def _width(source: RowsInFile) -> int:
    if source.row_format not in ITEM_BYTES:
        raise CommandFailed(
            f"{source.path}: --format takes rows of {', '.join(ITEM_BYTES)}, "
            f"found {source.row_format or 'plain bytes'}; --row-format says what they are"
        )
    width, rest = divmod(source.row_bytes, ITEM_BYTES[source.row_format])
    if rest:
        raise CommandFailed(f"{source.path}: rows of {source.row_bytes} bytes hold no whole {source.row_format} values")
    return width


def _encoded(source: RowsInFile, row_format: str, error: IntroducedError) -> Iterator[NDArray[np.uint8]]:
    from engram_client import formats

    for first, values in values_of(source):
        _require(np.isfinite(values), source, first, values, row_format)
        try:
            rows = formats.encode(values, row_format)
        except formats.Unstorable as refused:
            raise CommandFailed(
                f"{source.path}: row {first + refused.row}, column {refused.column} is {refused.value!r}: "
                f"{row_format} {refused.reason}"
            ) from refused
        error.add(values, formats.decode(rows, row_format))
        yield rows


def _largest_magnitude(source: RowsInFile) -> float:
    largest = 0.0
    with progress_bar(f"measuring {source.path.name}", source.num_rows * source.row_bytes) as advance:
        for first, values in values_of(source):
            magnitudes = np.abs(values)
            _require(magnitudes <= np.finfo(np.float32).max, source, first, values, _ONE_SCALE)
            largest = max(largest, float(magnitudes.max()))
            advance(len(values) * source.row_bytes)
    return largest


def _require(
    is_fine: NDArray[np.bool_], source: RowsInFile, first: int, values: NDArray[np.floating], row_format: str
) -> None:
    """Refuse values that are not finite, also for a format that could hold them: a table has no use for them."""
    if not is_fine.all():
        row, column = divmod(int(np.argmin(is_fine)), values.shape[1])
        raise CommandFailed(
            f"{source.path}: row {first + row}, column {column} is {float(values[row, column])!r}: "
            f"only finite float32 is converted to {row_format}"
        )


def values_of(source: RowsInFile) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Yield the first row of each piece and its values (n, width): float64 if the file holds those, else float32."""
    from engram_client import formats

    first, is_double = 0, source.row_format == "float64"
    for piece in source.pieces():
        yield first, piece.view("<f8") if is_double else formats.decode(piece, source.row_format)
        first += len(piece)

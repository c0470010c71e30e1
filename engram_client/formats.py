"""Row formats: what the bytes of a row mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


def decode(rows: NDArray[np.uint8], row_format: str) -> NDArray[np.float32]:
    """Return the values of rows, uint8 (..., row_bytes), as float32 (..., width); elements are little-endian.

    Raises:
        ValueError: the format is unknown, or no row of it has that many bytes.
        TypeError: the rows are not uint8.
    """
    known = _format(row_format)
    if rows.dtype != np.uint8:
        raise TypeError(f"rows must be uint8, got {rows.dtype}")
    if rows.ndim == 0 or rows.shape[-1] % known.group_bytes:
        raise ValueError(f"a {row_format} row must be a multiple of {known.group_bytes} bytes, got shape {rows.shape}")
    return known.decode(np.ascontiguousarray(rows))


def encode(values: ArrayLike, row_format: str) -> NDArray[np.uint8]:
    """Return values (..., width), taken as float32, as rows, uint8 (..., row_bytes).

    Rounds to nearest, ties to even; NaN stays NaN, and what is too large becomes infinite.

    Raises:
        ValueError: the format is unknown, or no row of it has that many values.
    """
    known = _format(row_format)
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(values, dtype=np.float32)
    if np.ndim(values) == 0 or floats.shape[-1] % known.group_width:
        raise ValueError(
            f"a {row_format} row must be a multiple of {known.group_width} values, got shape {np.shape(values)}"
        )
    return known.encode(floats)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFormat:
    """How one format turns C-contiguous rows into float32 values and back."""

    group_bytes: int
    """The fewest bytes that stand for whole values; a row is a multiple of it."""
    group_width: int
    """The values in that many bytes."""
    decode: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    encode: Callable[[NDArray[np.float32]], NDArray[np.uint8]]


def _format(row_format: str) -> RowFormat:
    if row_format not in FORMATS:
        raise ValueError(f"row format {row_format!r} is unknown, known are {', '.join(sorted(FORMATS))}")
    return FORMATS[row_format]


def _decode_float32(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    return rows.view("<f4").astype(np.float32)


def _encode_float32(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return values.astype("<f4").view(np.uint8)


def _decode_float16(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    return rows.view("<f2").astype(np.float32)


def _encode_float16(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    with np.errstate(over="ignore"):
        return values.astype("<f2").view(np.uint8)


def _decode_bfloat16(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A bfloat16 is the upper half of a float32."""
    return (rows.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def _encode_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round on the bits; a NaN is only cut, as a carry could make it a number, and keeps its quiet bit set."""
    bits = values.view(np.uint32)
    upper = bits >> np.uint32(16)
    rounded = (bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
    halves = np.where(np.isnan(values), upper | np.uint32(0x40), rounded)
    return halves.astype("<u2").view(np.uint8)


FORMATS = {
    "bfloat16": RowFormat(group_bytes=2, group_width=1, decode=_decode_bfloat16, encode=_encode_bfloat16),
    "float16": RowFormat(group_bytes=2, group_width=1, decode=_decode_float16, encode=_encode_float16),
    "float32": RowFormat(group_bytes=4, group_width=1, decode=_decode_float32, encode=_encode_float32),
}

"""Rows to values and back, by the name of their format."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from engram_client.formats.float8 import BlockScaledFloat8Rows, OneScaleFloat8Rows
from engram_client.formats.floats import BFloat16Rows, Float16Rows, Float32Rows
from engram_client.formats.int8 import BlockScaledInt8Rows
from engram_client.formats.row_format import RowFormat, Unstorable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from engram_client.formats.row_format import Float32Array, Uint8Array

_FLOATS: tuple[RowFormat, ...] = (BFloat16Rows(), Float16Rows(), Float32Rows())
_QUANTIZED: tuple[RowFormat, ...] = (BlockScaledFloat8Rows(), BlockScaledInt8Rows())
_FORMATS = {known.name: known for known in (*_FLOATS, *_QUANTIZED)}
_BYTES_AT_A_TIME = 2**18  # of rows: what is between the rows and the values stays in the processor's cache
_FINITE_ONLY = "holds finite float32 only"
_BEYOND_FLOAT32 = "is taken as float32, which holds magnitudes up to 3.4028e+38"
_KNOWN = ", ".join(sorted([*_FORMATS, "float8_e4m3", "float8_e4m3*SCALE (such as float8_e4m3*0x1.8p-7)"]))


def decode(rows: Uint8Array, row_format: str, out: Float32Array | None = None) -> Float32Array:
    """Return the values of rows, uint8 (..., row_bytes), as float32 (..., width).

    Elements of several bytes are little-endian. The values are in `out` if that is given: C-contiguous float32
    (..., width) that shares no memory with the rows. Without it, float32 rows are returned as a view of themselves, all
    others as new memory.

    Raises:
        ValueError: the format is unknown, no row of it has that many bytes, or `out` is not as described.
        TypeError: the rows are not uint8.
    """
    known = find_format(row_format)
    if rows.dtype != np.uint8:
        raise TypeError(f"rows must be uint8, got {rows.dtype}")
    shape = decoded_shape(known, rows.shape)
    if out is not None:
        _check_out(out, shape, rows)
    if rows.strides[-1] != 1:
        rows = np.ascontiguousarray(rows)
    if out is None and known.name == "float32":
        return rows.view("<f4")
    out = np.empty(shape, np.float32) if out is None else out
    if rows.size:
        _decode_in_pieces(known, rows.reshape(-1, rows.shape[-1]), out.reshape(-1, shape[-1]))
    return out


def encode(values: ArrayLike, row_format: str) -> Uint8Array:
    """Return values (..., width), taken as float32, as rows, uint8 (..., row_bytes).

    Rounds to nearest, ties to even. float32, float16 and bfloat16 keep NaN and infinity, all other formats refuse them;
    none makes a number infinite.

    Raises:
        Unstorable: the format has no bytes for a value, or only infinity for a number; says which.
        ValueError: the format is unknown, or no row of it has that many values.
    """
    known = find_format(row_format)
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(values, dtype=np.float32)
    if np.ndim(values) == 0 or floats.shape[-1] % known.group_width:
        raise ValueError(
            f"a {row_format} row must be a multiple of {known.group_width} values, got shape {np.shape(values)}"
        )
    _require_float32(floats, np.asarray(values), known)
    return known.encode(floats)


def row_bytes(row_format: str, width: int) -> int:
    """Return how many bytes a row of `width` values has; raises ValueError if there is no such row."""
    known = find_format(row_format)
    if width < 0 or width % known.group_width:
        raise ValueError(f"a {row_format} row must be a multiple of {known.group_width} values, got {width}")
    return width // known.group_width * known.group_bytes


def find_format(row_format: str) -> RowFormat:
    """Return the format of that name; raises ValueError if there is none."""
    known = _FORMATS.get(row_format) or _one_scale_float8(row_format)
    if known is None:
        raise ValueError(f"row format {row_format!r:.200} is unknown, known are {_KNOWN}")
    return known


def decoded_shape(known: RowFormat, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape (..., width) of rows of shape (..., row_bytes); raises ValueError if there are none."""
    if not shape or shape[-1] % known.group_bytes:
        raise ValueError(
            f"a {known.name} row must be a multiple of {known.group_bytes} bytes, got shape {tuple(shape)}"
        )
    return (*shape[:-1], shape[-1] // known.group_bytes * known.group_width)


def _decode_in_pieces(known: RowFormat, rows: Uint8Array, out: Float32Array) -> None:
    step = max(1, _BYTES_AT_A_TIME // rows.shape[-1])
    for first in range(0, len(rows), step):
        known.decode(rows[first : first + step], out[first : first + step])


@lru_cache(maxsize=64)
def _one_scale_float8(row_format: str) -> OneScaleFloat8Rows | None:
    return OneScaleFloat8Rows.named(row_format)


def _check_out(out: Float32Array, shape: tuple[int, ...], rows: Uint8Array) -> None:
    if out.dtype != np.float32 or out.shape != shape:
        raise ValueError(f"out must be float32 of shape {shape}, got {out.dtype} of shape {out.shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError("out must be C-contiguous and writable")
    if np.may_share_memory(out, rows):
        raise ValueError("out must not share memory with the rows")


def _require_float32(floats: Float32Array, given: NDArray[np.generic], known: RowFormat) -> None:
    """Refuse numbers that float32 makes infinite, and NaN and infinity where the format has none."""
    is_fine = np.isfinite(floats)
    if not is_fine.all() and known in _FLOATS:
        is_fine |= ~np.isfinite(given)
    if not is_fine.all():
        row, column = divmod(int(np.argmin(is_fine)), floats.shape[-1])
        value = float(given.reshape(-1, floats.shape[-1])[row, column])
        reason = _BEYOND_FLOAT32 if known in _FLOATS else _FINITE_ONLY
        raise Unstorable(known.name, row, column, value, reason)

"""Rows of plain floats: float32, float16, bfloat16. They hold NaN and infinity; no number becomes infinite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engram_client.formats.row_format import Unstorable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.formats.row_format import Float32Array, Uint8Array

_INFINITY = np.uint32(0x7F80)  # of bfloat16


class Float32Rows:
    """Four bytes a value."""

    name = "float32"
    group_bytes, group_width = 4, 1

    def decode(self, rows: Uint8Array, out: Float32Array) -> None:
        """See RowFormat.decode."""
        out[...] = rows.view("<f4")

    def encode(self, values: Float32Array) -> Uint8Array:
        """See RowFormat.encode."""
        return values.astype("<f4").view(np.uint8)


class Float16Rows:
    """Two bytes a value: 5 bits of exponent, 10 of mantissa."""

    name = "float16"
    group_bytes, group_width = 2, 1

    def decode(self, rows: Uint8Array, out: Float32Array) -> None:
        """See RowFormat.decode."""
        out[...] = rows.view("<f2")

    def encode(self, values: Float32Array) -> Uint8Array:
        """See RowFormat.encode."""
        with np.errstate(over="ignore"):
            halves = values.astype("<f2")
        _require_no_new_infinity(self.name, values, np.isinf(halves), "65,504")
        return halves.view(np.uint8)


class BFloat16Rows:
    """Two bytes a value: the upper half of a float32."""

    name = "bfloat16"
    group_bytes, group_width = 2, 1

    def decode(self, rows: Uint8Array, out: Float32Array) -> None:
        """See RowFormat.decode."""
        np.left_shift(rows.view("<u2"), 16, out=out.view(np.uint32), dtype=np.uint32)

    def encode(self, values: Float32Array) -> Uint8Array:
        """See RowFormat.encode. A NaN is only cut, as a carry could make it a number, and keeps its quiet bit set."""
        bits = values.view(np.uint32)
        upper = bits >> np.uint32(16)
        rounded = (bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
        halves = np.where(np.isnan(values), upper | np.uint32(0x40), rounded)
        _require_no_new_infinity(self.name, values, halves & np.uint32(0x7FFF) == _INFINITY, "3.3895e+38")
        return halves.astype("<u2").view(np.uint8)


def _require_no_new_infinity(name: str, values: Float32Array, is_infinite: NDArray[np.bool_], largest: str) -> None:
    if is_infinite.any() and (is_new := is_infinite & np.isfinite(values)).any():
        row, column = divmod(int(np.argmax(is_new)), values.shape[-1])
        value = float(values.reshape(-1, values.shape[-1])[row, column])
        raise Unstorable(name, row, column, value, f"holds magnitudes up to {largest}")

"""Rows of plain floats: float32, float16, bfloat16. They hold NaN and infinity like any other value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engram_client.formats.row_format import Float32Array, Uint8Array


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
            return values.astype("<f2").view(np.uint8)


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
        return halves.astype("<u2").view(np.uint8)

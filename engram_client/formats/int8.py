"""Rows of int8 with a float16 scale for every 32 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engram_client.formats.row_format import Unstorable, in_groups

if TYPE_CHECKING:
    from engram_client.formats.row_format import Float32Array, Float64Array, Uint8Array

_LARGEST_CODE = 127
_LARGEST_SCALE = float(np.finfo(np.float16).max)


class BlockScaledInt8Rows:
    """All int8 of a row, then one little-endian float16 for every 32 of them: 272 bytes for 256 values.

    value = int8 * scale, exact in float32. A group's scale is the smallest float16 that is not below its largest
    magnitude / 127, so that nothing is cut off; 1 if all are zero. Magnitudes above 127 * 65504 are refused.
    """

    name = "int8+float16/32"
    group_bytes, group_width = 34, 32

    def decode(self, rows: Uint8Array, out: Float32Array) -> None:
        """See RowFormat.decode."""
        width = out.shape[-1]
        codes = in_groups(rows[..., :width].view(np.int8), self.group_width)
        scales = np.ascontiguousarray(rows[..., width:]).view("<f2").astype(np.float32)
        with np.errstate(invalid="ignore"):  # 0 * infinity
            np.multiply(codes, scales[..., None], out=in_groups(out, self.group_width), dtype=np.float32)

    def encode(self, values: Float32Array) -> Uint8Array:
        """See RowFormat.encode."""
        groups = in_groups(values, self.group_width)
        largest = np.abs(groups).max(axis=-1).astype(np.float64)
        self._require_range(values, largest)
        scales = _scales_not_below(largest / _LARGEST_CODE, largest)
        codes = np.rint(groups / scales.astype(np.float64)[..., None]).astype(np.int8)
        return np.concatenate([codes.reshape(values.shape).view(np.uint8), scales.view(np.uint8)], axis=-1)

    def _require_range(self, values: Float32Array, largest: Float64Array) -> None:
        limit = _LARGEST_CODE * _LARGEST_SCALE
        if largest.size and largest.max() > limit:
            row, column = divmod(int(np.argmax(np.abs(values) > limit)), values.shape[-1])
            value = float(values.reshape(-1, values.shape[-1])[row, column])
            raise Unstorable(self.name, row, column, value, f"holds magnitudes up to {limit:,.0f}")


def _scales_not_below(
    quotients: Float64Array, largest: Float64Array
) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    nearest = quotients.astype("<f2")
    too_small = nearest.astype(np.float64) * _LARGEST_CODE < largest  # exact: 11 bits times 7
    scales = (nearest.view("<u2") + too_small).astype("<u2").view("<f2")  # the bits of the next larger are one more
    return np.where(largest == 0, np.float16(1), scales).astype("<f2")

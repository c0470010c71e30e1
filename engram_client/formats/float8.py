"""Rows of E4M3 bytes: with one scale for the whole table, or with a scale for every 32 columns."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engram_client.formats.e4m3 import LARGEST, e4m3_codes, look_up_e4m3
from engram_client.formats.row_format import in_groups

if TYPE_CHECKING:
    from engram_client.formats.row_format import Float32Array, Uint8Array

_ONE_SCALE = "float8_e4m3"
_SPELLING = re.compile(r"float8_e4m3(\*(?P<scale>0x[0-9a-f]+(\.[0-9a-f]+)?p[+-]?[0-9]{1,4}))?")
_SMALLEST_CHOSEN = 2.0**-126  # below it a float32 scale loses digits
_LARGEST = np.float32(LARGEST)
_LARGEST_SCALE = np.nextafter(np.finfo(np.float32).max / _LARGEST, np.float32(0))  # 448 times it is finite


@dataclass(frozen=True, slots=True)
class OneScaleFloat8Rows:
    """One byte a value, and one scale for the table that is part of the format's name.

    value = e4m3(byte) * scale in float32, rounded to nearest. Values beyond 448 * scale are stored as that.

    Raises:
        ValueError: the scale is not a positive float32, or 448 times it is infinite.
    """

    scale: float = 1.0
    group_bytes = group_width = 1

    def __post_init__(self) -> None:
        with np.errstate(over="ignore", under="ignore"):
            scale = np.float32(self.scale)
            if not (scale > 0 and float(scale) == self.scale and np.isfinite(scale * _LARGEST)):
                raise ValueError(
                    f"the scale of {_ONE_SCALE} must be positive and exact in float32, and {LARGEST:g} times it "
                    f"finite, got {self.scale.hex()}"
                )

    @classmethod
    def named(cls, name: str) -> OneScaleFloat8Rows | None:
        """Return the format that `name` spells, None if it spells another; raises ValueError for a wrong scale."""
        found = _SPELLING.fullmatch(name)
        if found is None:
            return None
        try:
            return cls(1.0 if found["scale"] is None else float.fromhex(found["scale"]))
        except OverflowError as error:
            raise ValueError(f"the scale of {name!r} is larger than any float") from error

    @classmethod
    def reaching(cls, largest: float) -> OneScaleFloat8Rows:
        """Return the format whose largest value is `largest` up to rounding; 0 gives a scale of 1."""
        if not (math.isfinite(largest) and largest >= 0):
            raise ValueError(f"the largest magnitude must be finite and not negative, got {largest}")
        if largest == 0:
            return cls()
        scale = np.float32(max(largest / LARGEST, _SMALLEST_CHOSEN))
        return cls(float(np.minimum(scale, _LARGEST_SCALE)))

    @property
    def name(self) -> str:
        """`float8_e4m3`, followed by the scale in hexadecimal, which is exact: `float8_e4m3*0x1.8p-7`."""
        return _ONE_SCALE if self.scale == 1 else f"{_ONE_SCALE}*{re.sub(r'[.]?0*p', 'p', self.scale.hex())}"

    def decode(self, rows: Uint8Array, out: Float32Array) -> None:
        """See RowFormat.decode."""
        look_up_e4m3(rows, out)
        if self.scale != 1:
            with np.errstate(under="ignore", invalid="ignore"):
                out *= np.float32(self.scale)

    def encode(self, values: Float32Array) -> Uint8Array:
        """See RowFormat.encode."""
        return e4m3_codes(values.astype(np.float64) / self.scale)


# The largest float32 are nearest to 256 * 2^120, which is infinite in float32: they are stored as the next one below.
_LAST_EXPONENT, _LARGEST_UNDER_IT = 120, 240.0


def _e8m0_values() -> Float32Array:
    values = np.ldexp(1.0, np.arange(256) - 127)
    values[255] = np.nan
    return values.astype(np.float32)


E8M0_VALUES = _e8m0_values()
"""2^(byte - 127) for each byte, (256,); 0 is 2^-127, a subnormal float32, and 255 is NaN."""


class BlockScaledFloat8Rows:
    """All E4M3 bytes of a row, then one E8M0 byte for every 32 of them: 264 bytes for 256 values.

    value = e4m3(byte) * 2^(scale byte - 127). The product is exact in float32, and in bfloat16, but for its range: what
    is 2^128 or more is infinite. A group's scale is 2^ceil(log2(largest magnitude / 448)), at least 2^-127, and 1 if
    all its values are zero.
    """

    name = "float8_e4m3+e8m0/32"
    group_bytes, group_width = 33, 32

    def decode(self, rows: Uint8Array, out: Float32Array) -> None:
        """See RowFormat.decode."""
        width = out.shape[-1]
        look_up_e4m3(rows[..., :width], out)
        groups = in_groups(out, self.group_width)  # a view
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            groups *= E8M0_VALUES[rows[..., width:], None]

    def encode(self, values: Float32Array) -> Uint8Array:
        """See RowFormat.encode."""
        groups = in_groups(values, self.group_width)
        exponents = self._scale_exponents(np.abs(groups).max(axis=-1))  # (..., groups)
        largest = np.where(exponents == _LAST_EXPONENT, _LARGEST_UNDER_IT, LARGEST)
        codes = e4m3_codes(np.ldexp(groups.astype(np.float64), -exponents[..., None]), largest[..., None])
        return np.concatenate([codes.reshape(values.shape), (exponents + 127).astype(np.uint8)], axis=-1)

    @staticmethod
    def _scale_exponents(largest: Float32Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """Return ceil(log2(largest / 448)) without a logarithm: largest = m * 2^e, 448 = 0.875 * 2^9."""
        fraction, exponent = np.frexp(largest)
        exponents = exponent - np.where(fraction > 0.875, 8, 9).astype(np.int32)
        return np.where(largest == 0, np.int32(0), np.maximum(exponents, np.int32(-127)))

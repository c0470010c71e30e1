"""One E4M3 byte: sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, 0x7f and 0xff are NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.formats.row_format import Float32Array, Float64Array, Uint8Array

LARGEST = 448.0  # 0x7e
_SMALLEST_NORMAL = 2.0**-6
_SUBNORMALS_IN_ONE = 512.0  # below that the values are multiples of 2^-9
_CUT_BITS = np.uint64(52 - 3)  # of a float64's mantissa
_REBIAS = np.uint64((1023 - 7) << 3)


def _e4m3_values() -> Float32Array:
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 0xF, codes & 0x7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10))
    magnitude[codes & 0x7F == 0x7F] = np.nan
    return np.where((codes >= 0x80) & (codes != 0xFF), -magnitude, magnitude).astype(np.float32)


E4M3_VALUES = _e4m3_values()
"""The value of each byte, (256,)."""

# The values of two bytes at once, (65536,), as the bits of both: half as many look-ups.
_PAIRS = np.stack([np.tile(E4M3_VALUES, 256), np.repeat(E4M3_VALUES, 256)], axis=-1).view(np.uint64)[:, 0]
# The same in bfloat16, which is the upper half of a float32 and has digits enough for every E4M3 value.
_BFLOAT16_PAIRS = (_PAIRS >> np.uint64(16) & np.uint64(0xFFFF) | _PAIRS >> np.uint64(48) << np.uint64(16)).astype("<u4")


def look_up_e4m3(codes: Uint8Array, out: Float32Array) -> None:
    """Write the values of bytes (..., width) into `out`, C-contiguous; the last axis of the bytes is contiguous too."""
    if codes.shape[-1] % 2:
        np.take(E4M3_VALUES, codes, out=out, mode="clip")  # "clip" writes straight into `out`
    else:
        np.take(_PAIRS, codes.view("<u2"), out=out.view(np.uint64), mode="clip")


def look_up_e4m3_as_bfloat16(codes: Uint8Array, out: NDArray[np.uint16]) -> None:
    """Write the same values as the bits of bfloat16 into `out`, C-contiguous (..., width); the width is even."""
    np.take(_BFLOAT16_PAIRS, codes.view("<u2"), out=out.view(np.uint32), mode="clip")


def e4m3_codes(values: Float64Array, largest: Float64Array | float = LARGEST) -> Uint8Array:
    """Return the bytes nearest to finite values, ties to even; what is beyond +-`largest` becomes +-`largest`.

    From float64, so that a quotient of two float32 is rounded once: it is never so near to a tie as to become one.
    """
    magnitude = np.minimum(np.abs(values), largest)
    bits = magnitude.view(np.uint64)
    odd = bits >> _CUT_BITS & np.uint64(1)
    normal = (bits + (np.uint64((1 << 48) - 1) + odd) >> _CUT_BITS) - _REBIAS
    subnormal = np.rint(magnitude * _SUBNORMALS_IN_ONE)
    codes = np.where(magnitude < _SMALLEST_NORMAL, subnormal, normal).astype(np.uint8)
    codes |= np.signbit(values).view(np.uint8) << np.uint8(7)
    return codes

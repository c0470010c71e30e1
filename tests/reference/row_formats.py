"""Row formats value by value, from the layout of the bits, in exact fractions: shares nothing with the package."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

FLOAT32_LIMIT = Fraction(2) ** 128 - Fraction(2) ** 103  # from here on, rounding gives infinity


def e4m3(byte: int) -> float:
    sign = -1.0 if byte >= 128 else 1.0
    exponent, mantissa = byte // 8 % 16, byte % 8
    if exponent == 15 and mantissa == 7:
        return math.nan
    if exponent == 0:
        return sign * mantissa / 8 * 2.0**-6
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


def e8m0(byte: int) -> float:
    return math.nan if byte == 255 else 2.0 ** (byte - 127)


def float32(value: float) -> float:
    """Round a number to float32; a Python float holds the product of an E4M3 and an E8M0 value exactly."""
    if math.isnan(value) or math.isinf(value):
        return value
    if abs(Fraction(value)) >= FLOAT32_LIMIT:
        return math.copysign(math.inf, value)
    return struct.unpack("<f", struct.pack("<f", value))[0]


def decode_one_scale(row: bytes, scale: float) -> list[float]:
    """The product of 4 bits and a float32's 24 fits a Python float, so that it is rounded once."""
    return [float32(e4m3(byte) * scale) for byte in row]


def decode_block_scaled_float8(row: bytes) -> list[float]:
    width = len(row) // 33 * 32
    return [float32(e4m3(row[column]) * e8m0(row[width + column // 32])) for column in range(width)]


def decode_block_scaled_int8(row: bytes) -> list[float]:
    width = len(row) // 34 * 32
    values = []
    for column in range(width):
        code = row[column] - 256 if row[column] >= 128 else row[column]
        (scale,) = struct.unpack_from("<e", row, width + column // 32 * 2)
        values.append(code * scale)
    return values


E4M3_MAGNITUDES = [Fraction(e4m3(code)) for code in range(0x7F)]


def nearest_e4m3(value: Fraction, negative: bool) -> int:
    """Search all 127 magnitudes; of two that are equally near, take the one with the even code."""
    magnitude = abs(value)
    code = min(range(0x7F), key=lambda code: (abs(E4M3_MAGNITUDES[code] - magnitude), code % 2))
    return code + 128 if negative else code


def encode_one_scale(values: list[float], scale: float) -> bytes:
    return bytes(nearest_e4m3(Fraction(value) / Fraction(scale), math.copysign(1, value) < 0) for value in values)


def encode_block_scaled_float8(values: list[float]) -> bytes:
    codes, scales = [], []
    for first in range(0, len(values), 32):
        group = values[first : first + 32]
        largest = max(abs(Fraction(value)) for value in group)
        exponent = 0
        if largest:
            exponent = -127
            while largest > 448 * Fraction(2) ** exponent:
                exponent += 1
        if exponent == 120:  # 256 * 2^120 would be infinite in float32
            group = [min(max(value, -240 * 2.0**120), 240 * 2.0**120) for value in group]
        scales.append(exponent + 127)
        codes += [
            nearest_e4m3(Fraction(value) / Fraction(2) ** exponent, math.copysign(1, value) < 0) for value in group
        ]
    return bytes(codes + scales)


def encode_block_scaled_int8(values: list[float]) -> bytes:
    codes, scales = [], b""
    for first in range(0, len(values), 32):
        group = values[first : first + 32]
        largest = max(abs(Fraction(value)) for value in group)
        scale = smallest_float16_from(largest / 127) if largest else 1.0
        scales += struct.pack("<e", scale)
        codes += [round(Fraction(value) / Fraction(scale)) % 256 for value in group]  # `round` takes ties to even
    return bytes(codes) + scales


def smallest_float16_from(value: Fraction) -> float:
    """Bisect the positive float16, whose bits are in the order of their values."""
    low, high = 0, 0x7BFF
    while low < high:
        middle = (low + high) // 2
        (found,) = struct.unpack("<e", middle.to_bytes(2, "little"))
        low, high = (low, middle) if Fraction(found) >= value else (middle + 1, high)
    return struct.unpack("<e", low.to_bytes(2, "little"))[0]

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_client.formats import Unstorable, decode, encode

SIXTEEN_BITS = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
FORMATS = ["float32", *SIXTEEN_BITS]


@pytest.mark.parametrize(
    ("row_format", "row"),
    [
        ("float32", "0000803f 000000c0 0000c07f 000080ff"),
        ("float16", "003c 00c0 007e 00fc"),
        ("bfloat16", "803f 00c0 c07f 80ff"),
    ],
)
def test_rows_hold_little_endian_values(row_format: str, row: str) -> None:
    values = np.array([1.0, -2.0, np.nan, -np.inf], dtype=np.float32)

    rows = encode(values, row_format)

    assert rows.tobytes() == bytes.fromhex(row)
    np.testing.assert_array_equal(decode(rows, row_format), values)


@pytest.mark.parametrize("row_format", SIXTEEN_BITS)
def test_every_sixteen_bit_pattern_decodes_and_comes_back(row_format: str) -> None:
    patterns = np.arange(2**16, dtype="<u2").reshape(256, 256)

    values = decode(patterns.view(np.uint8), row_format)

    np.testing.assert_array_equal(values, patterns.view(SIXTEEN_BITS[row_format]).astype(np.float32))
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(encode(values, row_format).view("<u2")[numbers], patterns[numbers])


@pytest.mark.parametrize("row_format", SIXTEEN_BITS)
@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_any_float_is_rounded_to_nearest_even_and_nan_stays_nan(row_format: str, bits: list[int]) -> None:
    values = np.array(bits, dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        expected = values.astype(SIXTEEN_BITS[row_format]).astype(np.float32)
    in_range = np.isfinite(expected) | ~np.isfinite(values)
    values, expected = values[in_range], expected[in_range]

    np.testing.assert_array_equal(decode(encode(values, row_format), row_format), expected)


def test_bfloat16_ties_go_to_the_even_neighbour_and_a_nan_stays_one() -> None:
    values = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7F7FFF, 0x7F800001], dtype=np.uint32).view(np.float32)

    halves = encode(values, "bfloat16").view("<u2")

    assert halves.tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7F7F, 0x7FC0]


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 0, 4), (2, 3, 4), (1, 0)])
def test_rows_of_any_shape_keep_it(row_format: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    rows = encode(values, row_format)

    assert rows.shape == (*shape[:-1], shape[-1] * (4 if row_format == "float32" else 2))
    np.testing.assert_array_equal(decode(rows, row_format), values)


@pytest.mark.parametrize("row_format", FORMATS)
def test_views_and_other_number_types_are_taken(row_format: str) -> None:
    values = np.arange(24.0).reshape(4, 6)

    rows = encode(values[::2, ::3], row_format)

    np.testing.assert_array_equal(rows, encode([[0, 3], [12, 15]], row_format))
    np.testing.assert_array_equal(decode(np.repeat(rows, 2, axis=0)[::2], row_format), [[0, 3], [12, 15]])


# The last float64, or float32, that is rounded to a number, and the next one, which would be rounded to infinity.
REACH = {
    "float32": (np.nextafter(2.0**128 - 2.0**103, 0), 2.0**128 - 2.0**103),
    "float16": (np.nextafter(np.float32(65520), np.float32(0)), 65520.0),
    "bfloat16": np.array([0x7F7F7FFF, 0x7F7F8000], np.uint32).view(np.float32),
}


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_would_become_infinite_is_refused_by_place(row_format: str, sign: int) -> None:
    values = np.zeros((2, 3, 5))
    values[0] = np.inf
    values[1, 1, 3:] = sign * REACH[row_format][1]

    with pytest.raises(Unstorable, match=f"row 4, column 3 is .*: {row_format} .*holds magnitudes up to") as caught:
        encode(values, row_format)

    assert (caught.value.row, caught.value.column) == (4, 3)
    values[1, 1, 3:] = sign * REACH[row_format][0]
    assert np.isfinite(decode(encode(values[1], row_format), row_format)).all()


@pytest.mark.parametrize("row_format", FORMATS)
def test_only_float32_rows_are_looked_at_and_not_copied(row_format: str) -> None:
    rows = encode([[1.0, 2.0], [3.0, 4.0]], row_format)

    values = decode(rows, row_format)

    assert np.shares_memory(values, rows) == (row_format == "float32")


@pytest.mark.parametrize("row_format", FORMATS)
def test_values_are_put_where_the_caller_wants_them(row_format: str) -> None:
    rows = encode([[1.0, 2.0], [3.0, 4.0]], row_format)
    out = np.empty((2, 2), np.float32)

    values = decode(rows, row_format, out=out)

    assert values is out
    assert out.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_an_unknown_format_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="'float8' is unknown, known are bfloat16, float16, float32, float8_e4m3, "):
        decode(np.zeros((1, 4), dtype=np.uint8), "float8")
    with pytest.raises(ValueError, match="'float8' is unknown"):
        encode([1.0], "float8")


def test_rows_that_hold_no_whole_number_of_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 row must be a multiple of 4 bytes, got shape \(2, 6\)"):
        decode(np.zeros((2, 6), dtype=np.uint8), "float32")
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        encode(np.float32(1), "float16")


def test_rows_that_are_not_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8, got float32"):
        decode(np.zeros((2, 4), dtype=np.float32), "float32")

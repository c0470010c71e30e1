"""The formats that quantize, against a literal second implementation and ml_dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import row_formats as reference

from engram_client.formats import OneScaleFloat8Rows, Unstorable, decode, encode, find_format, row_bytes

ONE_SCALE = "float8_e4m3*0x1.8080p-7"
BLOCK_FLOAT8 = "float8_e4m3+e8m0/32"
BLOCK_INT8 = "int8+float16/32"
QUANTIZED = ["float8_e4m3", ONE_SCALE, BLOCK_FLOAT8, BLOCK_INT8]
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
INT8_RANGE = st.floats(-(2.0**22), 2.0**22, width=32)


def reference_of(row_format: str) -> tuple[Callable, Callable]:
    scale = 1.0 if row_format == "float8_e4m3" else float.fromhex("0x1.808p-7")
    return {
        BLOCK_FLOAT8: (reference.decode_block_scaled_float8, reference.encode_block_scaled_float8),
        BLOCK_INT8: (reference.decode_block_scaled_int8, reference.encode_block_scaled_int8),
    }.get(
        row_format,
        (
            lambda row: reference.decode_one_scale(row, scale),
            lambda values: reference.encode_one_scale(values, scale),
        ),
    )


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal as bits, signs of zero included; any NaN equals any other."""
    nan = np.isnan(left)
    return np.array_equal(nan, np.isnan(right)) and np.array_equal(
        left[~nan].view(np.uint32), right[~nan].view(np.uint32)
    )


def all_float8_rows() -> np.ndarray:
    """Each of the 256 E4M3 bytes under each of the 256 E8M0 bytes: (256 scales, 256 + 8 bytes)."""
    rows = np.empty((256, 264), np.uint8)
    rows[:, :256] = np.arange(256)
    rows[:, 256:] = np.arange(256)[:, None]
    return rows


def test_every_byte_under_every_scale_is_what_the_bits_say() -> None:
    rows = all_float8_rows()
    expected = [reference.decode_block_scaled_float8(row.tobytes()) for row in rows]

    values = decode(rows, BLOCK_FLOAT8)

    assert values.dtype == np.float32
    assert same_bits(values, np.array(expected, np.float32))


def test_every_byte_under_every_scale_is_what_ml_dtypes_says() -> None:
    rows = all_float8_rows()
    codes = rows[:, :256].view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    scales = np.repeat(rows[:, 256:].view(ml_dtypes.float8_e8m0fnu).astype(np.float32), 32, axis=1)
    with np.errstate(all="ignore"):
        expected = codes * scales

    assert same_bits(decode(rows, BLOCK_FLOAT8), expected)


@pytest.mark.parametrize(
    ("scale_byte", "expected"),
    [
        (0, [2.0**-127, 448 * 2.0**-127, -(2.0**-136)]),
        (127, [1.0, 448.0, -(2.0**-9)]),
        (254, [2.0**127, math.inf, -(2.0**118)]),
        (255, [math.nan, math.nan, math.nan]),
    ],
)
def test_the_edge_bytes_mean_what_the_standards_say(scale_byte: int, expected: list[float]) -> None:
    row = np.zeros(33, np.uint8)
    row[:5] = 0x38, 0x7E, 0x81, 0x7F, 0xFF
    row[32] = scale_byte

    values = decode(row, BLOCK_FLOAT8)

    np.testing.assert_array_equal(values[:5], [*expected, math.nan, math.nan])
    np.testing.assert_array_equal(values[5:], np.full(27, 0 * expected[0]))


def test_every_value_is_exact_in_bfloat16_but_for_its_range() -> None:
    values = decode(all_float8_rows(), BLOCK_FLOAT8)
    in_range = np.abs(values) >= 2.0**-126

    narrow = decode(encode(values, "bfloat16"), "bfloat16")

    assert same_bits(narrow[in_range], values[in_range])


@pytest.mark.parametrize("row_format", ["float8_e4m3", ONE_SCALE])
def test_every_byte_of_one_scale_is_what_the_bits_say(row_format: str) -> None:
    rows = np.arange(256, dtype=np.uint8)

    values = decode(rows, row_format)

    assert same_bits(values, np.array(reference_of(row_format)[0](rows.tobytes()), np.float32))


def test_every_int8_under_scales_of_every_kind_is_what_the_bits_say() -> None:
    scales = np.array([0, 1, 0x3FF, 0x400, 0x2E66, 0x3C00, 0x7BFF, 0x7C00, 0x7E00, 0x8001, 0xBC00], "<u2")
    rows = np.empty((len(scales), 272), np.uint8)
    rows[:, :256] = np.arange(256)
    rows[:, 256:] = np.repeat(scales[:, None], 8, axis=1).view(np.uint8)
    expected = [reference.decode_block_scaled_int8(row.tobytes()) for row in rows]

    assert same_bits(decode(rows, BLOCK_INT8), np.array(expected, np.float32))


@pytest.mark.parametrize("row_format", ["float8_e4m3", BLOCK_FLOAT8])
def test_every_number_comes_back_as_the_byte_that_it_was(row_format: str) -> None:
    codes = np.setdiff1d(np.arange(256, dtype=np.uint8), [0x7F, 0xFF])
    codes = np.append(codes, [0x7E, 0x7E]).astype(np.uint8)
    codes[31::32] = 0x7E  # each group reaches 448, so that its scale is 1
    scales = np.full(8 if row_format == BLOCK_FLOAT8 else 0, 127, np.uint8)
    row = np.concatenate([codes, scales])

    assert encode(decode(row, row_format), row_format).tobytes() == row.tobytes()


@pytest.mark.parametrize("code", range(0x7E))
def test_ties_go_to_the_even_code_and_their_neighbours_to_the_nearer_one(code: int) -> None:
    low, high = reference.e4m3(code), reference.e4m3(code + 1)
    middle = np.float32((low + high) / 2)
    values = np.array([middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(500))])

    codes = encode(np.concatenate([values, -values]), "float8_e4m3")

    even = code + code % 2
    assert codes.tolist() == [even, code, code + 1, even + 128, code + 128, code + 129]


@pytest.mark.parametrize(
    ("largest", "scale_byte"),
    [
        (448.0, 127),
        (np.nextafter(np.float32(448), np.float32(449)), 128),
        (np.nextafter(np.float32(448), np.float32(0)), 127),
        (224.0, 126),
        (1.0, 119),
        (0.0, 127),
        (-0.0, 127),
        (2.0**-149, 0),
        (448 * 2.0**-127, 0),
        (448 * 2.0**-126, 1),
        (448 * 2.0**119, 246),
        (float(np.finfo(np.float32).max), 247),
    ],
)
def test_the_scale_is_the_smallest_power_of_two_that_reaches_the_largest_value(largest: float, scale_byte: int) -> None:
    values = np.zeros(32, np.float32)
    values[7] = -largest

    row = encode(values, BLOCK_FLOAT8)

    assert row[32] == scale_byte


def test_what_is_beyond_the_one_scale_becomes_the_largest_value() -> None:
    values = decode(encode([1e30, -1e30, 464.1, 480.0], "float8_e4m3"), "float8_e4m3")

    assert values.tolist() == [448.0, -448.0, 448.0, 448.0]


def test_the_largest_float32_does_not_become_infinite() -> None:
    largest = np.full(32, np.finfo(np.float32).max)

    values = decode(encode(largest, BLOCK_FLOAT8), BLOCK_FLOAT8)

    assert values.tolist() == [1.875 * 2.0**127] * 32


@pytest.mark.parametrize("row_format", QUANTIZED)
@settings(max_examples=20)  # the literal implementation takes its time
@given(data=st.data())
def test_rows_are_what_the_literal_implementation_writes(row_format: str, data: st.DataObject) -> None:
    values = np.array(data.draw(drawn_rows(row_format)), np.float32)

    rows = encode(values, row_format)

    assert rows.tobytes() == reference_of(row_format)[1]([float(value) for value in values])


@pytest.mark.parametrize("row_format", QUANTIZED)
@settings(max_examples=50)
@given(data=st.data())
def test_what_comes_back_is_within_the_bound_of_the_format(row_format: str, data: st.DataObject) -> None:
    """Half a step: 2^-4 of the value or 2^-10 of the scale for E4M3, half the scale for int8."""
    values = np.array(data.draw(drawn_rows(row_format)), np.float32).astype(np.float64)

    found = decode(encode(values, row_format), row_format).astype(np.float64)

    scales, step = bound_of(row_format, values)
    reachable = np.clip(values, -448 * scales, 448 * scales) if row_format in ("float8_e4m3", ONE_SCALE) else values
    assert (np.abs(found - reachable) <= step * (1 + 2.0**-22) + 2.0**-150).all()
    assert np.array_equal(np.signbit(found)[found != 0], np.signbit(values)[found != 0])


def bound_of(row_format: str, values: np.ndarray) -> tuple[np.ndarray | float, np.ndarray]:
    """The scales and the largest error of each value, from the bound that the format states."""
    largest = np.repeat(np.abs(values).reshape(-1, 32).max(axis=1), 32)
    if row_format == BLOCK_INT8:
        scales = largest / 127 * (1 + 2.0**-10) + 2.0**-24
        return scales, scales / 2
    if row_format == BLOCK_FLOAT8:
        scales = np.maximum(2 * largest / 448, 2.0**-127)
    else:
        scales = np.float64(find_format(row_format).scale)
    return scales, np.maximum(np.abs(values) / 16, scales / 1024)


def drawn_rows(row_format: str) -> st.SearchStrategy[list[float]]:
    return st.lists(INT8_RANGE if row_format == BLOCK_INT8 else FINITE, min_size=32, max_size=32) | st.lists(
        st.floats(-1, 1, width=32), min_size=64, max_size=64
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("row_format", QUANTIZED)
def test_what_is_no_finite_float32_is_refused_by_place(row_format: str, value: float) -> None:
    values = np.zeros((2, 3, 64))
    values[1, 1, 37:] = value

    with pytest.raises(Unstorable, match="row 4, column 37 is ") as caught:
        encode(values, row_format)

    assert (caught.value.row, caught.value.column) == (4, 37)
    assert math.isnan(value) or caught.value.value == value


def test_what_a_float16_scale_cannot_reach_is_refused_by_place() -> None:
    values = np.zeros((3, 32), np.float32)
    values[0, 0], values[2, 31] = 127 * 65504, -8319010

    with pytest.raises(Unstorable, match=r"row 2, column 31 is -8319010.0: .* holds magnitudes up to 8,319,008"):
        encode(values, BLOCK_INT8)

    assert decode(encode(values[:1], BLOCK_INT8), BLOCK_INT8)[0, 0] == 127 * 65504


@pytest.mark.parametrize("row_format", QUANTIZED)
@pytest.mark.parametrize("shape", [(32,), (3, 64), (2, 2, 256), (2, 0, 32), (1, 0)])
def test_rows_of_any_shape_keep_it(row_format: str, shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, np.float32)

    rows = encode(values, row_format)

    assert rows.shape == (*shape[:-1], row_bytes(row_format, shape[-1]))
    assert decode(rows, row_format).shape == shape


@pytest.mark.parametrize("row_format", QUANTIZED)
def test_views_give_what_copies_give(row_format: str) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (6, 2 * row_bytes(row_format, 64)), dtype=np.uint8)

    for view in (rows[::2, ::2], rows[::-1, : row_bytes(row_format, 64)]):
        assert same_bits(decode(view, row_format), decode(view.copy(), row_format))


@pytest.mark.parametrize("row_format", ["float32", "bfloat16", *QUANTIZED])
def test_an_output_that_does_not_fit_is_refused(row_format: str) -> None:
    rows = encode(np.zeros((2, 32)), row_format)
    overlapping = np.zeros(4096, np.uint8)
    fixed = np.zeros((2, 32), np.float32)
    fixed.flags.writeable = False

    for out in (np.zeros((32, 2), np.float32), np.zeros((2, 32)), np.zeros(64, np.float32)):
        with pytest.raises(ValueError, match=r"out must be float32 of shape \(2, 32\)"):
            decode(rows, row_format, out=out)
    for out in (np.zeros((2, 64), np.float32)[:, ::2], fixed):
        with pytest.raises(ValueError, match="C-contiguous and writable"):
            decode(rows, row_format, out=out)
    with pytest.raises(ValueError, match="share memory"):
        decode(
            overlapping[100 : 100 + rows.size].reshape(rows.shape),
            row_format,
            out=overlapping[:256].view(np.float32).reshape(2, 32),
        )


@pytest.mark.parametrize("row_format", QUANTIZED)
def test_what_is_decoded_into_the_callers_array_is_the_same(row_format: str) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (5, 3, row_bytes(row_format, 64)), dtype=np.uint8)
    out = np.full((5, 3, 64), 7, np.float32)

    assert decode(rows, row_format, out=out) is out
    assert same_bits(out, decode(rows, row_format))


@pytest.mark.parametrize("row_format", QUANTIZED)
def test_many_rows_decode_as_each_by_itself_wherever_the_output_lies(row_format: str) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3, 3000, row_bytes(row_format, 64)), dtype=np.uint8)
    shifted = np.empty(rows.shape[0] * rows.shape[1] * 64 + 1, np.float32)[1:].reshape(3, 3000, 64)

    decode(rows, row_format, out=shifted)

    singly = np.stack([decode(row, row_format) for row in rows.reshape(9000, -1)[::7]])
    assert same_bits(shifted.reshape(9000, 64)[::7], singly)


def test_a_row_of_an_odd_number_of_bytes_decodes_as_any_other() -> None:
    rows = np.arange(255, dtype=np.uint8)[::-1].reshape(5, 51)

    assert same_bits(decode(rows, ONE_SCALE).ravel(), decode(np.arange(256, dtype=np.uint8), ONE_SCALE)[254::-1])


@pytest.mark.parametrize(
    ("scale", "name"),
    [
        (1.0, "float8_e4m3"),
        (2.0, "float8_e4m3*0x1p+1"),
        (1.5 * 2.0**-7, "float8_e4m3*0x1.8p-7"),
        (float(np.float32(0.1)), "float8_e4m3*0x1.99999ap-4"),
        (2.0**-149, "float8_e4m3*0x1p-149"),
    ],
)
def test_a_scale_is_spelled_exactly_and_read_back(scale: float, name: str) -> None:
    assert OneScaleFloat8Rows(scale).name == name
    assert find_format(name) == OneScaleFloat8Rows(scale)


@given(bits=st.integers(1, 0x7B000000))
def test_any_scale_comes_back_from_its_name(bits: int) -> None:
    scale = float(np.uint32(bits).view(np.float32))

    assert find_format(OneScaleFloat8Rows(scale).name).scale == scale


def test_any_spelling_of_a_scale_gives_the_one_name() -> None:
    assert find_format("float8_e4m3*0x3.0p-8").name == "float8_e4m3*0x1.8p-7"
    assert find_format("float8_e4m3*0x1p0").name == "float8_e4m3"


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ("0x0p+0", "must be positive"),
        ("0x1.00000001p+0", "exact in float32"),
        ("0x1p+127", "448 times it finite"),
        ("0x1p+128", "exact in float32"),
        ("0x1p-200", "must be positive"),
        ("0x1p+9999", "larger than any float"),
        ("1.5", "is unknown"),
        ("-0x1p+0", "is unknown"),
        ("nan", "is unknown"),
        ("", "is unknown"),
    ],
)
def test_a_scale_that_is_none_is_refused(scale: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_format(f"float8_e4m3*{scale}")


@given(largest=st.floats(2.0**-149, float(np.finfo(np.float32).max), width=32))
def test_the_scale_that_is_chosen_reaches_the_largest_value(largest: float) -> None:
    row_format = OneScaleFloat8Rows.reaching(largest)

    (found,) = decode(encode([largest], row_format.name), row_format.name)

    # The scale is never subnormal: below what the smallest one reaches, the float8 itself rounds.
    relative = 2.0**-22 if row_format.scale > 2.0**-126 else 2.0**-4
    assert row_format.scale >= 2.0**-126
    assert abs(found - largest) <= max(largest * relative, 2.0**-136)


def test_a_table_of_zeros_gets_the_scale_one() -> None:
    assert OneScaleFloat8Rows.reaching(0.0).name == "float8_e4m3"
    with pytest.raises(ValueError, match="finite and not negative, got nan"):
        OneScaleFloat8Rows.reaching(math.nan)


@pytest.mark.parametrize(("row_format", "width"), [(BLOCK_FLOAT8, 33), (BLOCK_INT8, 16)])
def test_a_width_that_is_no_multiple_of_a_group_is_refused(row_format: str, width: int) -> None:
    with pytest.raises(ValueError, match=f"must be a multiple of 32 values, got {width}"):
        row_bytes(row_format, width)
    with pytest.raises(ValueError, match="must be a multiple of 32 values, got shape"):
        encode(np.zeros((2, width)), row_format)
    with pytest.raises(ValueError, match="must be a multiple of 3[34] bytes, got shape"):
        decode(np.zeros((2, width + 2), np.uint8), row_format)


def test_rows_of_256_values_have_the_published_sizes() -> None:
    sizes = {row_format: row_bytes(row_format, 256) for row_format in [*QUANTIZED, "bfloat16", "float32"]}

    assert list(sizes.values()) == [256, 256, 264, 272, 512, 1024]

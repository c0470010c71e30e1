"""Rows decoded by torch are the rows that NumPy decodes, bit for bit, wherever they lie and wherever they go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engram_client import formats
from engram_model.rows import decode_into, decode_rows

FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
QUANTIZED = ["float8_e4m3", "float8_e4m3*0x1.99999ap-4", "float8_e4m3+e8m0/32", "int8+float16/32"]
FORMATS = [*FLOATS, *QUANTIZED]


def same_bits(found: torch.Tensor, expected: np.ndarray) -> bool:
    """Equal as bits, signs of zero included; any NaN equals any other."""
    assert found.dtype == torch.float32
    values, nan = found.numpy(), np.isnan(expected)
    return np.array_equal(nan, np.isnan(values)) and np.array_equal(
        values[~nan].view(np.uint32), expected[~nan].view(np.uint32)
    )


def random_rows(row_format: str, *shape: int) -> np.ndarray:
    row_bytes = formats.row_bytes(row_format, 64)
    return np.random.default_rng(0).integers(0, 256, (*shape, row_bytes), dtype=np.uint8)


@pytest.mark.parametrize("row_format", FORMATS)
@given(data=st.data())
def test_any_bytes_decode_as_in_numpy(row_format: str, data: st.DataObject) -> None:
    row_bytes = formats.row_bytes(row_format, 32)
    rows = data.draw(arrays.arrays(np.uint8, (3, row_bytes)))

    assert same_bits(decode_rows(rows, row_format).float(), formats.decode(rows, row_format))


def exhaustive_rows(row_format: str) -> np.ndarray:
    """Every byte as a code, under every number that a scale can be."""
    numbers = {"float8_e4m3+e8m0/32": np.arange(2**8, dtype=np.uint8), "int8+float16/32": np.arange(2**16, dtype="<u2")}
    if row_format not in numbers:
        return np.arange(256, dtype=np.uint8)[None]
    scales = np.repeat(numbers[row_format][:, None], 8, axis=1).view(np.uint8)
    codes = np.tile(np.arange(256, dtype=np.uint8), (len(scales), 1))
    return np.concatenate([codes, scales], axis=1)


@pytest.mark.parametrize("row_format", QUANTIZED)
def test_every_byte_under_every_scale_decodes_as_in_numpy(row_format: str) -> None:
    rows = exhaustive_rows(row_format)

    assert same_bits(decode_rows(rows, row_format), formats.decode(rows, row_format))


@pytest.mark.parametrize("compiled", [False, True])
def test_every_byte_under_every_scale_is_rounded_once_to_bfloat16(compiled: bool) -> None:
    rows = np.tile(exhaustive_rows("float8_e4m3+e8m0/32"), (3, 1))  # more than one piece
    expected = torch.from_numpy(formats.decode(rows, "float8_e4m3+e8m0/32")).bfloat16()
    out = torch.full(expected.shape, 7, dtype=torch.bfloat16)
    torch.compiler.reset()
    decode = torch.compile(decode_into, backend="eager", fullgraph=True) if compiled else decode_into

    decode(torch.from_numpy(rows), formats.find_format("float8_e4m3+e8m0/32"), out)

    assert torch.equal(out.isnan(), expected.isnan())
    assert torch.equal(out.nan_to_num(nan=1.0).view(torch.int16), expected.nan_to_num(nan=1.0).view(torch.int16))


@pytest.mark.parametrize("row_format", FORMATS)
def test_compiled_code_decodes_to_the_same_bits_without_a_graph_break(row_format: str) -> None:
    """Also what a device other than the CPU computes: on a CPU, NumPy decodes unless the code is compiled."""
    rows = exhaustive_rows(row_format)
    torch.compiler.reset()

    values = torch.compile(decode_rows, backend="eager", fullgraph=True)(
        torch.from_numpy(rows), formats.find_format(row_format)
    )

    assert same_bits(values.float(), formats.decode(rows, row_format))


@pytest.mark.parametrize("row_format", FLOATS)
def test_float_rows_keep_their_type_and_their_memory(row_format: str) -> None:
    rows = torch.from_numpy(random_rows(row_format, 4))

    values = decode_rows(rows[1:], row_format)

    assert values.dtype == FLOATS[row_format]
    assert values.data_ptr() == rows[1:].data_ptr()


@pytest.mark.parametrize("row_format", FORMATS)
def test_rows_that_torch_cannot_look_at_in_place_are_copied(row_format: str) -> None:
    rows = random_rows(row_format, 4)
    shifted = torch.empty(rows.size + 1, dtype=torch.uint8)[1:].view(rows.shape)
    shifted.copy_(torch.from_numpy(rows))
    spread = torch.from_numpy(np.repeat(rows, 2, axis=1))[:, ::2]
    fixed = rows.copy()
    fixed.flags.writeable = False
    expected = formats.decode(rows, row_format)

    for given_rows in (shifted, spread, fixed, np.repeat(rows, 2, axis=0)[::2]):
        assert same_bits(decode_rows(given_rows, row_format).float(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("row_format", FORMATS)
def test_numbers_are_put_into_the_callers_tensor_in_its_type(row_format: str, dtype: torch.dtype) -> None:
    rows = random_rows(row_format, 5, 3)
    whole = torch.full((5, 3, 64), 7, dtype=dtype)
    spread = torch.full((5, 3, 128), 7, dtype=dtype)[..., ::2]
    expected = torch.from_numpy(np.array(formats.decode(rows, row_format))).to(dtype)

    for out in (whole, spread):
        assert decode_rows(rows, row_format, out=out) is out
        assert torch.equal(out.isnan(), expected.isnan())
        assert torch.equal(out.nan_to_num(nan=0.0), expected.nan_to_num(nan=0.0))


@pytest.mark.parametrize("row_format", FORMATS)
def test_rows_are_decoded_on_the_device_of_the_output(row_format: str) -> None:
    rows = random_rows(row_format, 5)
    out = torch.empty((5, 64), device="meta")

    assert decode_rows(rows, row_format, out=out) is out
    assert decode_rows(torch.from_numpy(rows).to("meta"), row_format).device.type == "meta"


@pytest.mark.parametrize("row_format", FORMATS)
def test_an_output_that_does_not_fit_is_refused(row_format: str) -> None:
    rows = random_rows(row_format, 2)
    memory = torch.zeros(4096, dtype=torch.uint8)

    for out in (torch.zeros(64, 2), torch.zeros(2, 64, dtype=torch.int32), torch.zeros(128)):
        with pytest.raises(ValueError, match=r"out must be floating point of shape \(2, 64\)"):
            decode_rows(rows, row_format, out=out)
    with pytest.raises(ValueError, match="share memory"):
        decode_rows(
            memory[500 : 500 + rows.size].view(rows.shape), row_format, out=memory[:512].view(torch.float32).view(2, 64)
        )


def test_rows_and_an_output_may_be_neighbours_in_one_buffer() -> None:
    row = formats.encode([1.0] * 32, "float8_e4m3+e8m0/32")
    memory = torch.zeros(256, dtype=torch.uint8)
    memory[128 : 128 + 33] = torch.from_numpy(row)

    decode_rows(memory[128 : 128 + 33], "float8_e4m3+e8m0/32", out=memory[:128].view(torch.float32))

    assert memory[:128].view(torch.float32).tolist() == [1.0] * 32


@pytest.mark.parametrize("row_format", FORMATS)
@pytest.mark.parametrize("shape", [(0, 64), (2, 0)])
def test_no_rows_and_no_columns_are_no_special_case(row_format: str, shape: tuple[int, ...]) -> None:
    rows = np.empty((shape[0], formats.row_bytes(row_format, shape[1])), np.uint8)

    assert decode_rows(rows, row_format).shape == shape
    assert decode_rows(rows, row_format, out=torch.empty(shape)).shape == shape


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(ValueError, match="'runes' is unknown"):
        decode_rows(torch.zeros(4, dtype=torch.uint8), "runes")
    with pytest.raises(ValueError, match=r"must be a multiple of 33 bytes, got shape \(2, 34\)"):
        decode_rows(torch.zeros((2, 34), dtype=torch.uint8), "float8_e4m3+e8m0/32")
    with pytest.raises(TypeError, match=r"must be uint8, got torch\.float32"):
        decode_rows(torch.zeros((2, 33)), "float8_e4m3+e8m0/32")

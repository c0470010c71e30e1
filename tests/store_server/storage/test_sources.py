"""Files that tables are imported from, against arrays written by the libraries that own the formats."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from store_server.storage import InvalidSource
from store_server.storage.sources import RowsInFile, open_source

ANY_PATH = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def all_rows(source: RowsInFile) -> NDArray[np.uint8]:
    return np.concatenate([piece.copy() for piece in source.pieces()])


def as_bytes(array: NDArray) -> NDArray[np.uint8]:
    return np.frombuffer(array.tobytes(), np.uint8).reshape(len(array), -1)


def safetensors_file(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(
    ("dtype", "row_format"),
    [("<f4", "float32"), ("<f2", "float16"), ("<f8", "float64"), ("u1", ""), ("i1", "int8"), ("<i4", ""), ("V2", "")],
)
def test_an_npy_array_is_read_row_by_row(tmp_path: Path, dtype: str, row_format: str) -> None:
    width = 2000 // np.dtype(dtype).itemsize
    content = np.random.default_rng(0).bytes(2_000 * width * np.dtype(dtype).itemsize)
    array = np.frombuffer(content, dtype).reshape(2_000, width)
    np.save(tmp_path / "a.npy", array)

    source = open_source(tmp_path / "a.npy")

    assert (source.num_rows, source.row_bytes, source.row_format) == (2_000, 2_000, row_format)
    assert np.array_equal(all_rows(source), as_bytes(array))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(8), r"2-D .* found shape \(8,\)"),
        (np.zeros((2, 3, 4)), r"found shape \(2, 3, 4\)"),
        (np.zeros((0, 8)), r"found shape \(0, 8\)"),
        (np.asfortranarray(np.zeros((3, 4))), "Fortran"),
        (np.zeros((3, 4), ">f4"), "little-endian numbers, found dtype >f4"),
        (np.zeros((3, 4), bool), "expected numbers, found dtype bool"),
        (np.zeros((3, 4), "U3"), "expected numbers"),
        (np.array([[None]]), "expected numbers, found dtype object"),
        (np.zeros((3, 4), [("a", "<f4")]), "expected numbers"),
    ],
)
def test_an_npy_array_that_is_no_table_is_refused(tmp_path: Path, array: NDArray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)

    with pytest.raises(InvalidSource, match=message):
        open_source(tmp_path / "a.npy")


def test_an_npy_shape_of_something_else_than_numbers_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1, 12), "<f4"))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(1, 12), }   ", b"(True, 12), }", 1))

    with pytest.raises(InvalidSource, match=r"found shape \(True, 12\)"):
        open_source(tmp_path / "a.npy")


def test_an_npy_array_of_arrays_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4), "<f4"))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"'<f4'", b"('i1',(4,))", 1).replace(b" " * 6, b"", 1))

    with pytest.raises(InvalidSource, match="expected numbers"):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("change", [-1, 1])
def test_an_npy_file_of_another_size_than_it_says_is_refused(tmp_path: Path, change: int) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-1] if change < 0 else content + b"\0")

    with pytest.raises(InvalidSource, match=f"needs 176 bytes, the file has {176 + change}"):
        open_source(tmp_path / "a.npy")


@ANY_PATH
@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: b"\x93NUMPY\x01\0\x20\0" + tail))
def test_bytes_that_are_no_npy_file_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)

    with pytest.raises(InvalidSource, match=r"a\.npy"):
        open_source(tmp_path / "a.npy")


def test_raw_bytes_are_cut_into_rows(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(264 * 9_000)
    (tmp_path / "rows").write_bytes(content)

    source = open_source(tmp_path / "rows", row_bytes=264)

    assert (source.num_rows, source.row_bytes, source.row_format) == (9_000, 264, "")
    assert all_rows(source).tobytes() == content


@pytest.mark.parametrize(
    ("num_bytes", "row_bytes", "message"),
    [
        (100, None, "give --row-bytes"),
        (100, 0, "1 to 1,048,576 .* got 0"),
        (100, (1 << 20) + 1, "got 1,048,577"),
        (100, 8, "100 bytes are not whole rows of 8; 4 are left over"),
        (0, 8, "is empty"),
    ],
)
def test_raw_bytes_that_are_no_table_are_refused(
    tmp_path: Path, num_bytes: int, row_bytes: int | None, message: str
) -> None:
    (tmp_path / "rows").write_bytes(bytes(num_bytes))

    with pytest.raises(InvalidSource, match=message):
        open_source(tmp_path / "rows", row_bytes=row_bytes)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="no such file"):
        open_source(tmp_path / "none.npy")
    with pytest.raises(InvalidSource, match="not a regular file"):
        open_source(tmp_path, row_bytes=8)


def test_options_that_do_not_fit_the_file_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))

    with pytest.raises(InvalidSource, match="leave out --row-bytes 8"):
        open_source(tmp_path / "a.npy", row_bytes=8)
    with pytest.raises(InvalidSource, match="'w'"):
        open_source(tmp_path / "a.npy", tensor="w")


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(bytes(264 * 9_000))
    pieces = open_source(tmp_path / "rows", row_bytes=264).pieces()
    next(pieces)
    (tmp_path / "rows").write_bytes(bytes(264 * 8_000))

    with pytest.raises(InvalidSource, match="ends inside row 8000"):
        list(pieces)


@pytest.mark.parametrize(
    ("dtype", "row_format"),
    [
        (np.float32, "float32"),
        (np.float16, "float16"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (ml_dtypes.float8_e4m3fn, "float8_e4m3"),
        (np.uint8, ""),
        (np.int8, "int8"),
    ],
)
def test_a_tensor_is_found_by_name(tmp_path: Path, dtype: type, row_format: str) -> None:
    array = np.random.default_rng(0).integers(0, 100, (5_000, 128)).astype(dtype)
    save_file({"w": array, "other": np.zeros((7, 3), np.float32), "one": np.zeros(4)}, tmp_path / "m.safetensors")

    source = open_source(tmp_path / "m.safetensors", tensor="w")

    assert (source.num_rows, source.row_bytes) == (5_000, 128 * array.itemsize)
    assert source.row_format == row_format
    assert np.array_equal(all_rows(source), as_bytes(array))


def test_the_only_two_dimensional_tensor_needs_no_name(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_file({"w": array, "bias": np.zeros(4)}, tmp_path / "m.safetensors", metadata={"format": "np"})

    assert np.array_equal(all_rows(open_source(tmp_path / "m.safetensors")), as_bytes(array))


def test_tensors_to_choose_from_are_listed(tmp_path: Path) -> None:
    tensors = {"a": np.zeros((3, 4), np.float32), "b": np.zeros((5, 6), np.float16), "c": np.zeros(4)}
    save_file(tensors, tmp_path / "m.safetensors")

    for name in (None, "d", "c"):
        with pytest.raises(InvalidSource) as caught:
            open_source(tmp_path / "m.safetensors", tensor=name)
        assert ("c" if name == "c" else "a F32[3, 4], b F16[5, 6]") in str(caught.value)


@pytest.mark.parametrize(
    ("header", "num_bytes", "message"),
    [
        (b"not JSON", 0, "not JSON"),
        (b"[1, 2]", 0, "found list"),
        (b'{"w": 1, "w": 2}', 0, "occurs twice"),
        (b"[" * 100_000, 0, "not JSON"),
        ({"w": 3}, 0, "tensor 'w': expected dtype, shape and data_offsets, found 3"),
        ({"w": {"dtype": "F32", "shape": [1, 1]}}, 4, "expected dtype, shape and data_offsets"),
        ({"w": {"dtype": "F33", "shape": [1, 1], "data_offsets": [0, 4]}}, 4, "found 'F33'"),
        ({"w": {"dtype": ["F32"], "shape": [1, 1], "data_offsets": [0, 4]}}, 4, r"found \['F32'\]"),
        ({"w": {"dtype": "F32", "shape": [1, -1], "data_offsets": [0, 4]}}, 4, r"found \[1, -1\]"),
        ({"w": {"dtype": "F32", "shape": [1, True], "data_offsets": [0, 4]}}, 4, "expected a shape"),
        ({"w": {"dtype": "F32", "shape": [1.0, 1], "data_offsets": [0, 4]}}, 4, "expected a shape"),
        ({"w": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, 4, "expected a shape"),
        ({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0]}}, 4, "expected data_offsets"),
        ({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 0]}}, 4, r"found \[4, 0\]"),
        ({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 8]}}, 8, "needs 4 bytes, .* span 8"),
        ({"w": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}, 4, "span 4"),
        ({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}, 3, "truncated: .* the file has"),
        ({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}, 5, "longer than its tensors"),
        ({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [1, 5]}}, 5, "'w' leaves a gap"),
        (
            {
                "v": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
                "w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]},
            },
            8,
            "'w' overlaps",
        ),
    ],
)
def test_a_header_that_lies_is_refused_with_what_was_expected_and_found(
    tmp_path: Path, header: object, num_bytes: int, message: str
) -> None:
    path = safetensors_file(tmp_path / "m.safetensors", header, bytes(num_bytes))

    with pytest.raises(InvalidSource, match=message) as caught:
        open_source(path, tensor="w")

    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: expected 8 bytes .* found 0"),
        (b"\0" * 7, "truncated: expected 8 bytes .* found 7"),
        *(
            (content, "expected a header of 2 to")
            for content in (b"\0" * 8, b"\xff" * 8, struct.pack("<Q", 10) + b"{}")
        ),
    ],
)
def test_a_header_of_impossible_length_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)

    with pytest.raises(InvalidSource, match=message):
        open_source(tmp_path / "m.safetensors")


def test_every_truncation_of_a_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": np.ones((2, 2), np.float32)}, path)
    content = path.read_bytes()

    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(InvalidSource):
            open_source(path)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 20) | st.sampled_from(["F32", "dtype", "shape", "w"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["w", "dtype", "shape"]), inner),
    max_leaves=8,
)
TENSORS = st.fixed_dictionaries({"dtype": JSON_VALUES, "shape": JSON_VALUES, "data_offsets": JSON_VALUES})


@ANY_PATH
@given(header=st.dictionaries(st.text(max_size=3), TENSORS | JSON_VALUES, max_size=3) | JSON_VALUES, data=st.binary())
def test_any_header_is_understood_or_refused(tmp_path: Path, header: object, data: bytes) -> None:
    path = safetensors_file(tmp_path / "m.safetensors", header, data)

    try:
        source = open_source(path)
    except InvalidSource:
        return
    assert all_rows(source).size == source.num_rows * source.row_bytes <= len(data)

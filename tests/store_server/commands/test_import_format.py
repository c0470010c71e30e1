"""`import --format`: what is stored, and the error that is reported, against NumPy over the whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from reference import row_formats as reference
from safetensors.numpy import save_file

from engram_client.formats import decode
from store_server.commands.introduced_error import IntroducedError
from store_server.storage import DataRoot

VALUES = np.random.default_rng(0).standard_normal((5_000, 96)) * 0.02
VALUES[7] = 0
SOURCES = {"float32": np.float32, "float16": np.float16, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16}
ROW_BYTES = {
    "float32": 384,
    "float16": 192,
    "bfloat16": 192,
    "float8_e4m3": 96,
    "float8_e4m3*0x1.8p-12": 96,
    "float8_e4m3+e8m0/32": 99,
    "int8+float16/32": 102,
}


def write_source(folder: Path, kind: str, dtype: str) -> tuple[Path, np.ndarray]:
    array = VALUES.astype(SOURCES[dtype])
    path = folder / f"source.{kind}"
    if kind == "npy":
        np.save(path, array)
    else:
        save_file({"w": array}, path)
    return path, array.astype(np.float64)


def stored(root: Path, name: str) -> tuple[np.ndarray, str]:
    data_root = DataRoot.open(root)
    version = data_root.current_version(name)
    backend = data_root.open_backend(name, version)
    rows = np.concatenate(list(backend.blocks()))
    backend.close()
    return rows, data_root.manifest(name, version).row_format


def report(out: str) -> dict[str, str]:
    """The lines that a command printed, by what they begin with."""
    return dict(line.rsplit(maxsplit=1) for line in out.splitlines())


def numbers_by_numpy(given: np.ndarray, found: np.ndarray) -> list[float]:
    """Maximum, root mean square, and the mean cosine of rows; a row of zeros that stayed one has cosine 1."""
    errors = np.abs(found.astype(np.float64) - given)
    lengths = np.linalg.norm(given, axis=1) * np.linalg.norm(found.astype(np.float64), axis=1)
    cosines = np.where(lengths == 0, 1, (given * found).sum(axis=1) / np.where(lengths == 0, 1, lengths))
    return [errors.max(), np.sqrt(np.square(errors).mean()), cosines.mean()]


@pytest.mark.parametrize("row_format", ROW_BYTES)
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("npy", "float32"),
        ("npy", "float16"),
        ("npy", "float64"),
        ("safetensors", "float32"),
        ("safetensors", "bfloat16"),
        ("safetensors", "float64"),
    ],
)
def test_floats_become_the_format_and_the_error_is_reported(
    run: Callable, root: Path, tmp_path: Path, kind: str, dtype: str, row_format: str
) -> None:
    source, given = write_source(tmp_path, kind, dtype)

    imported = run("import", root, "t", source, "--format", row_format)

    rows, stored_format = stored(root, "t")
    assert imported.status == 0
    assert rows.shape == (5_000, ROW_BYTES[row_format])
    assert report(imported.out)["format"] == stored_format
    assert stored_format.startswith(row_format)
    largest, root_mean_square, cosine = numbers_by_numpy(given, decode(rows, stored_format))
    shown = [report(imported.out)[key] for key in ("max err", "rms err", "cosine")]
    assert shown == [f"{largest:.3g}", f"{root_mean_square:.3g}", f"{cosine:.6f}"]


def test_the_error_is_added_up_over_pieces_as_over_the_whole() -> None:
    found = VALUES.astype(np.float16)
    error = IntroducedError()

    for rows in np.split(np.arange(len(VALUES)), [1, 700, 4_998]):
        error.add(VALUES[rows], found[rows])

    summed = [error.largest, error.root_mean_square, error.mean_cosine]
    np.testing.assert_allclose(summed, numbers_by_numpy(VALUES, found), rtol=1e-12)


@pytest.mark.parametrize(
    ("row_format", "encode"),
    [
        ("float8_e4m3*0x1.8p-12", lambda row: reference.encode_one_scale(row, 1.5 * 2.0**-12)),
        ("float8_e4m3+e8m0/32", reference.encode_block_scaled_float8),
        ("int8+float16/32", reference.encode_block_scaled_int8),
    ],
)
def test_the_stored_bytes_are_those_of_the_literal_implementation(
    run: Callable, root: Path, tmp_path: Path, row_format: str, encode: Callable
) -> None:
    source, given = write_source(tmp_path, "npy", "float32")

    run("import", root, "t", source, "--format", row_format)

    rows, _ = stored(root, "t")
    for row in (0, 7, 2_800, 4_999):
        assert rows[row].tobytes() == encode(given[row].tolist())


def test_one_scale_for_the_table_is_found_before(run: Callable, root: Path, tmp_path: Path) -> None:
    source, given = write_source(tmp_path, "npy", "float32")

    imported = run("import", root, "t", source, "--format", "float8_e4m3")

    scale = float.fromhex(report(imported.out)["format"].partition("*")[2])
    assert scale == np.float32(np.abs(given).max() / 448)
    assert "measuring source.npy" in imported.err


def test_raw_bytes_are_quantized_when_they_are_said_to_be_floats(run: Callable, root: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.bin"
    source.write_bytes(VALUES.astype(ml_dtypes.bfloat16).tobytes())
    options = ["--row-bytes", 192, "--format", "float8_e4m3+e8m0/32"]

    unsaid = run("import", root, "t", source, *options)
    imported = run("import", root, "t", source, *options, "--row-format", "bfloat16")

    assert unsaid.error.endswith(
        "rows.bin: --format takes rows of float32, float16, bfloat16, float64, found plain bytes; "
        "--row-format says what they are"
    )
    assert imported.status == 0
    assert stored(root, "t")[0].shape == (5_000, 99)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
@pytest.mark.parametrize("row_format", [*ROW_BYTES, "float8_e4m3*0x1p+0"])
def test_a_value_that_is_no_finite_float32_is_named_and_nothing_is_stored(
    run: Callable, root: Path, tmp_path: Path, row_format: str, value: float
) -> None:
    values = VALUES.copy()
    values[4_321, 95] = value
    np.save(tmp_path / "a.npy", values)

    refused = run("import", root, "t", tmp_path / "a.npy", "--format", row_format)

    assert (refused.status, refused.out) == (1, "")
    name = "float8_e4m3" if row_format == "float8_e4m3*0x1p+0" else row_format
    assert f"a.npy: row 4321, column 95 is {value!r}: " in refused.error
    assert name in refused.error
    assert "float32" in refused.error
    assert not root.exists()


@pytest.mark.parametrize(
    ("row_format", "value", "message"),
    [
        ("float16", 65520.0, "float16 holds magnitudes up to 65,504"),
        ("float16", -1e5, "float16 holds magnitudes up to 65,504"),
        ("bfloat16", float(np.finfo(np.float32).max), "bfloat16 holds magnitudes up to 3.3895e+38"),
        ("int8+float16/32", 8319010.0, "int8+float16/32 holds magnitudes up to 8,319,008"),
    ],
)
def test_a_number_that_the_format_cannot_reach_is_named_and_nothing_is_stored(
    run: Callable, root: Path, tmp_path: Path, row_format: str, value: float, message: str
) -> None:
    values = VALUES.astype(np.float32)
    values[4_321, 95] = value
    np.save(tmp_path / "a.npy", values)

    refused = run("import", root, "t", tmp_path / "a.npy", "--format", row_format)

    assert (refused.status, refused.out) == (1, "")
    assert refused.error.endswith(f"a.npy: row 4321, column 95 is {value!r}: {message}")
    assert not root.exists()


def test_floats_that_are_stored_as_they_lie_keep_nan_and_infinity(run: Callable, root: Path, tmp_path: Path) -> None:
    values = np.array([[1, np.nan], [np.inf, -np.inf]], np.float32)
    np.save(tmp_path / "a.npy", values)

    imported = run("import", root, "t", tmp_path / "a.npy")

    assert imported.status == 0
    np.testing.assert_array_equal(decode(*stored(root, "t")), values)


@pytest.mark.parametrize(
    ("array", "row_format", "message"),
    [
        (np.zeros((2, 33), np.float32), "float8_e4m3+e8m0/32", "must be a multiple of 32 values, got 33"),
        (np.zeros((2, 32), np.float32), "float9", "row format 'float9' is unknown, known are bfloat16"),
        (np.zeros((2, 32), np.float32), "float8_e4m3*0x0p+0", "must be positive"),
        (np.zeros((2, 32), np.int8), "bfloat16", "takes rows of float32, float16, bfloat16, float64, found int8"),
    ],
)
def test_what_cannot_become_the_format_is_refused_before_anything_is_written(
    run: Callable, root: Path, tmp_path: Path, array: np.ndarray, row_format: str, message: str
) -> None:
    np.save(tmp_path / "a.npy", array)

    refused = run("import", root, "t", tmp_path / "a.npy", "--format", row_format)

    assert (refused.status, refused.out) == (1, "")
    assert message in refused.error
    assert "a.npy" in refused.error
    assert not root.exists()


def test_inspect_decodes_what_was_quantized(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.5, -448.0] * 16], np.float32))

    run("import", root, "t", tmp_path / "a.npy", "--format", "float8_e4m3+e8m0/32")

    assert run("inspect", root, "t", "--rows", "0", "--decode").out.split()[2:4] == ["0.5", "-448"]

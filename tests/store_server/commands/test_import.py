from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import DTypeLike
from safetensors.numpy import save_file

from store_server.storage import DataRoot

ARRAY = np.random.default_rng(0).standard_normal((5_000, 66)).astype(np.float32)


def stored_rows(root: Path, name: str) -> np.ndarray:
    data_root = DataRoot.open(root)
    backend = data_root.open_backend(name, data_root.current_version(name))
    rows = np.concatenate(list(backend.blocks()))
    backend.close()
    return rows


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
@pytest.mark.parametrize("kind", ["npy", "raw", "safetensors"])
def test_every_kind_of_file_gives_the_same_rows(
    run: Callable, root: Path, tmp_path: Path, kind: str, backend: str
) -> None:
    source = tmp_path / f"source.{kind}"
    options: list[object] = []
    if kind == "npy":
        np.save(source, ARRAY)
    elif kind == "raw":
        source.write_bytes(ARRAY.tobytes())
        options = ["--row-bytes", 264, "--row-format", "float32"]
    else:
        save_file({"w": ARRAY, "other": ARRAY[:3]}, source)
        options = ["--tensor", "w"]

    imported = run("import", root, "t", source, "--backend", backend, "--fingerprint", "f", *options)

    manifest = DataRoot.open(root).manifest("t", DataRoot.open(root).current_version("t"))
    assert imported.status == 0
    assert imported.out == f"table    t\nversion  {manifest.version}\nrows     5,000\nbytes    1,320,000\n"
    assert (manifest.row_format, manifest.fingerprint, manifest.backend) == ("float32", "f", backend)
    assert stored_rows(root, "t").tobytes() == ARRAY.tobytes()


def test_importing_again_adds_a_version_that_becomes_current(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "old.npy", ARRAY)
    np.save(tmp_path / "new.npy", ARRAY * 2)

    run("import", root, "t", tmp_path / "old.npy")
    run("import", root, "t", tmp_path / "new.npy")

    assert len(DataRoot.open(root).versions("t")) == 2
    assert stored_rows(root, "t").tobytes() == (ARRAY * 2).tobytes()


def test_a_new_version_whose_rows_are_not_like_those_before_says_so(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "old.npy", ARRAY)
    np.save(tmp_path / "same.npy", ARRAY * 2)
    np.save(tmp_path / "narrow.npy", ARRAY[:, :32].astype("float16"))

    said = [
        [line for line in run("import", root, "t", tmp_path / name).out.splitlines() if line.startswith("note")]
        for name in ("old.npy", "same.npy", "narrow.npy")
    ]

    after = "clients see that when they look again, see refresh()"
    assert said == [
        [],
        [],
        [f"note     row bytes 64, before 264: {after}", f"note     row format float16, before float32: {after}"],
    ]


@pytest.mark.parametrize("dtype", ["int64", ml_dtypes.bfloat16])  # NumPy files call the latter two bytes of nothing
def test_numbers_that_a_file_has_no_name_for_are_said_to_be_plain_bytes_until_they_are_named(
    run: Callable, root: Path, tmp_path: Path, dtype: DTypeLike
) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 8), dtype))

    said = run("import", root, "t", tmp_path / "a.npy").out
    (note,) = (line for line in said.splitlines() if line.startswith("note"))
    assert "plain bytes" in note
    assert "--row-format bfloat16" in note
    assert "plain bytes" not in run("import", root, "t", tmp_path / "a.npy", "--row-format", "bfloat16").out


def test_floats_that_are_to_be_plain_bytes_are_that_without_a_word(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 8), "float32"))

    assert "note" not in run("import", root, "t", tmp_path / "a.npy", "--row-format", "").out


def test_importing_what_is_current_changes_nothing_and_says_so(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    first = run("import", root, "t", tmp_path / "a.npy")
    version = DataRoot.open(root).current_version("t")
    files = {path: path.stat().st_ino for path in (root / "tables").rglob("*")}

    again = run("import", root, "t", tmp_path / "a.npy")

    assert again.out == f"{first.out}unchanged: version {version} is already current\n"
    assert {path: path.stat().st_ino for path in (root / "tables").rglob("*")} == files
    assert "unchanged" not in run("import", root, "t", tmp_path / "a.npy", "--backend", "lmdb").out


@pytest.mark.parametrize(
    ("dtype", "options", "label"),
    [
        ("float32", [], "float32"),
        ("float32", ["--row-format", "float32"], "float32"),
        ("float32", ["--row-format", "x-mine"], "x-mine"),
        ("float32", ["--row-format", ""], ""),
        ("int8", [], ""),
        ("int8", ["--row-format", "int8+float16/32"], "int8+float16/32"),
        ("int8", ["--row-format", "x-int8"], "x-int8"),
        ("float64", [], ""),
        ("uint16", ["--row-format", "bfloat16"], "bfloat16"),
    ],
)
def test_a_table_is_labelled_with_what_clients_decode_or_what_the_user_calls_it(
    run: Callable, root: Path, tmp_path: Path, dtype: str, options: list[str], label: str
) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 68), dtype))

    imported = run("import", root, "t", tmp_path / "a.npy", *options)

    data_root = DataRoot.open(root)
    assert data_root.manifest("t", data_root.current_version("t")).row_format == label
    is_told = f"the file holds {dtype}, which clients do not decode: stored as plain bytes" in imported.out
    assert is_told == (dtype in ("int8", "float64") and not options)


@pytest.mark.parametrize(
    ("dtype", "row_format", "message"),
    [
        ("float32", "bfloat16", "a.npy holds float32, --row-format says bfloat16; leave it out, or convert"),
        ("float64", "float64", "row format 'float64' is unknown, known are bfloat16"),
        ("uint8", "runes", "row format 'runes' is unknown, known are bfloat16"),
        ("uint8", "float8_e4m3+e8m0/32", "a row is a multiple of 33 bytes, got rows of 68"),
    ],
)
def test_a_label_that_the_rows_cannot_have_is_refused(
    run: Callable, root: Path, tmp_path: Path, dtype: str, row_format: str, message: str
) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 68), dtype))

    refused = run("import", root, "t", tmp_path / "a.npy", "--row-format", row_format)

    assert (refused.status, refused.out) == (2, "")
    assert message in refused.error
    assert not root.exists()


def test_progress_is_shown_with_a_rate(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((40_000, 66), np.float32))

    imported = run("import", root, "t", tmp_path / "a.npy")

    assert "importing a.npy" in imported.err
    assert "10.6/10.6 MB" in imported.err
    assert "B/s" in imported.err


def test_a_source_that_is_no_table_leaves_no_root_behind(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))

    refused = run("import", root, "t", tmp_path / "a.npy")

    assert (refused.status, refused.out) == (1, "")
    assert "2-D" in refused.error
    assert not root.exists()


def test_importing_needs_no_more_memory_than_a_few_blocks(root: Path, tmp_path: Path) -> None:
    """After an import of 1 MiB, imports of 128 MiB raise the peak of a process by less than 24 MiB."""
    script = """
import resource, sys
from store_server.commands import main
for table in ("small", "large"):
    for backend in ("mmap", "lmdb"):
        source = f"{sys.argv[1]}/{table}.raw"
        assert main(["import", sys.argv[2], table + backend, source, "--row-bytes", "256", "--backend", backend]) == 0
    print("peak KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""
    for name, mebibytes in (("small", 1), ("large", 128)):
        with (tmp_path / f"{name}.raw").open("wb") as file:
            file.truncate(mebibytes << 20)

    command = [sys.executable, "-c", script, str(tmp_path), str(root)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)

    before, after = (int(line.split()[-1]) << 10 for line in ran.stdout.splitlines() if line.startswith("peak KiB"))
    assert after - before < 24 << 20

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
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
    assert imported.out == f"table    t\nversion  {manifest.version}\nrows     5000\nbytes    1320000\n"
    assert (manifest.row_format, manifest.fingerprint, manifest.backend) == ("float32", "f", backend)
    assert stored_rows(root, "t").tobytes() == ARRAY.tobytes()


def test_importing_again_adds_a_version_that_becomes_current(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "old.npy", ARRAY)
    np.save(tmp_path / "new.npy", ARRAY * 2)

    run("import", root, "t", tmp_path / "old.npy")
    run("import", root, "t", tmp_path / "new.npy")

    assert len(DataRoot.open(root).versions("t")) == 2
    assert stored_rows(root, "t").tobytes() == (ARRAY * 2).tobytes()


def test_progress_is_shown_with_a_rate(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((40_000, 66), np.float32))

    imported = run("import", root, "t", tmp_path / "a.npy")

    assert "importing a.npy" in imported.err
    assert "B/s" in imported.err


def test_a_source_that_is_no_table_leaves_no_root_behind(run: Callable, root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))

    refused = run("import", root, "t", tmp_path / "a.npy")

    assert (refused.status, refused.out) == (1, "")
    assert "2-D" in refused.error
    assert not root.exists()


def test_importing_needs_no_more_memory_than_a_few_blocks(root: Path, tmp_path: Path) -> None:
    """The peak of importing 256 MiB is within 24 MiB of that of importing 1 MiB."""
    peaks = []
    for index, mebibytes in enumerate((1, 256)):
        source = tmp_path / f"{mebibytes}.raw"
        with source.open("wb") as file:
            file.truncate(mebibytes << 20)
        for backend in ("mmap", "lmdb"):
            peak = peak_bytes("import", root, f"t{index}", source, "--row-bytes", 256, "--backend", backend)
            peaks.append(peak)

    assert max(peaks) - min(peaks) < 24 << 20


def peak_bytes(*arguments: object) -> int:
    script = """
import resource, sys
from store_server.commands import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    assert resource.getpagesize() == 4096
    return int(ran.stdout.splitlines()[-1]) << 10

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store_server.storage import DataRoot


def stored_rows(root: Path, name: str) -> np.ndarray:
    data_root = DataRoot.open(root)
    backend = data_root.open_backend(name, data_root.current_version(name))
    rows = np.concatenate(list(backend.blocks()))
    backend.close()
    return rows


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
@pytest.mark.parametrize("row_bytes", [1, 12, 264])
def test_index_rows_hold_what_the_formula_says(run: Callable, root: Path, backend: str, row_bytes: int) -> None:
    created = run("create", root, "a/b", "--rows", 9_000, "--row-bytes", row_bytes, "--backend", backend)

    rows = stored_rows(root, "a/b")
    assert created.status == 0
    for row in (0, 1, 4_094, 4_095, 8_999):
        words = [(row + word * 0x9E3779B97F4A7C15) % 2**64 for word in range(33)]
        expected = b"".join(word.to_bytes(8, "little") for word in words)[:row_bytes]
        assert rows[row].tobytes() == expected


def test_what_was_created_is_printed_and_the_progress_is_not_a_result(run: Callable, root: Path) -> None:
    created = run("create", root, "t", "--rows", 1_000, "--row-bytes", 264, "--row-format", "x-y", "--fingerprint", "f")

    version = DataRoot.open(root).current_version("t")
    manifest = DataRoot.open(root).manifest("t", version)
    assert created.out == f"table    t\nversion  {version}\nrows     1,000\nbytes    264,000\n"
    assert "creating t" in created.err
    assert (manifest.row_format, manifest.fingerprint) == ("x-y", "f")


@pytest.mark.parametrize("fingerprint", ["", f"engram-v1:{'0f' * 32}", "engram-v2:x", "my own", "study-v1:short"])
def test_a_fingerprint_of_the_engram_family_or_of_ones_own_is_stored_as_it_was_given(
    run: Callable, root: Path, fingerprint: str
) -> None:
    created = run("create", root, "t", "--rows", 1, "--row-bytes", 8, "--fingerprint", fingerprint)

    data_root = DataRoot.open(root)
    assert created.status == 0
    assert data_root.manifest("t", data_root.current_version("t")).fingerprint == fingerprint


def test_random_rows_come_from_the_seed(run: Callable, root: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("create", root, name, "--rows", 9_000, "--row-bytes", 264, "--fill", "random", "--seed", seed)

    data_root = DataRoot.open(root)
    assert data_root.current_version("a") == data_root.current_version("b")
    assert data_root.current_version("a") != data_root.current_version("c")


@pytest.mark.parametrize(
    ("name", "rows", "row_bytes", "message"),
    [
        ("../t", 1, 8, "'../t' is not a table name"),
        ("/etc", 1, 8, "is not a table name"),
        ("a b", 1, 8, "is not a table name"),
        ("x" * 300, 1, 8, "at most 200 characters"),
        ("", 1, 8, "'' is not a table name"),
        ("t", 1 << 60, 8, "are more than a file can hold"),
        ("t", 1 << 41, 1 << 20, "disk full"),
    ],
)
def test_what_cannot_be_created_is_refused_with_the_limit(
    run: Callable, root: Path, name: str, rows: int, row_bytes: int, message: str
) -> None:
    refused = run("create", root, name, "--rows", rows, "--row-bytes", row_bytes)

    assert (refused.status, refused.out) == (1, "")
    assert message in refused.error or (message == "disk full" and "too large" in refused.error)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--rows": 0}, "'--rows': must be at least 1, got 0"),
        ({"--row-bytes": 0}, "'--row-bytes': must be 1 to 1,048,576 (1 MiB), got 0"),
        ({"--row-bytes": (1 << 20) + 1}, "'--row-bytes': must be 1 to 1,048,576 (1 MiB), got 1,048,577"),
        ({"--row-format": "runes"}, "--row-format: row format 'runes' is unknown, known are bfloat16, float16,"),
        ({"--row-format": "float8_e4m3*0x0p+0"}, "--row-format: the scale of float8_e4m3 must be positive"),
        ({"--row-format": "x-"}, "--row-format x-: a name must follow"),
        ({"--row-format": "x-\t"}, "--row-format must be printable and at most 200 characters, got 'x-\\t'"),
        ({"--row-format": "x-" + "y" * 200}, "--row-format must be printable and at most 200 characters"),
        ({"--row-format": "float8_e4m3+e8m0/32"}, "a row is a multiple of 33 bytes, got rows of 8"),
        ({"--fingerprint": "a\nb"}, "'--fingerprint': must be printable and at most 1000 characters, got 'a\\nb'"),
        ({"--fingerprint": "engram-v1:"}, "after engram-v1: come 64 digits of 0-9 and a-f"),
        ({"--fingerprint": "engram-v1:..."}, "as `NgramHasher.fingerprint` gives them, got '...'"),
        ({"--fingerprint": f"engram-v1:{'0' * 63}"}, "'--fingerprint': after engram-v1: come 64 digits"),
        ({"--fingerprint": f"engram-v1:{'A' * 64}"}, "'--fingerprint': after engram-v1: come 64 digits"),
    ],
)
def test_a_bad_value_is_named_by_the_flag_it_was_given_with(
    run: Callable, root: Path, changed: dict[str, object], message: str
) -> None:
    options = {"--rows": 1, "--row-bytes": 8, **changed}

    refused = run("create", root, "t", *[part for option in options.items() for part in option])

    assert (refused.status, refused.out) == (2, "")
    assert message in refused.error
    assert not root.exists()

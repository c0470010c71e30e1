from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_server.storage import InvalidTableSpec, Manifest, TableSpec
from store_server.storage.manifest import default_block_rows

MIB = 1 << 20
MANIFEST = Manifest(
    num_rows=10,
    row_bytes=8,
    row_format="float32",
    fingerprint="f",
    backend="mmap",
    data_bytes=80,
    block_rows=5,
    block_digests=("0" * 32, "1" * 32),
)


def test_a_manifest_survives_being_written_and_read() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_the_version_is_a_digest_that_does_not_depend_on_how_the_rows_are_held() -> None:
    held_otherwise = dataclasses.replace(MANIFEST, backend="lmdb", data_bytes=8192)

    assert len(MANIFEST.version) == 32
    assert held_otherwise.version == MANIFEST.version


@pytest.mark.parametrize(
    "change",
    [
        {"num_rows": 9, "data_bytes": 9 * MANIFEST.row_bytes},
        {"row_bytes": 9, "data_bytes": MANIFEST.num_rows * 9},
        {"row_format": "float16"},
        {"fingerprint": "g"},
        {"block_rows": 6},
        {"block_digests": ("0" * 32, "2" * 32)},
    ],
)
def test_the_version_changes_with_the_content(change: dict[str, object]) -> None:
    assert dataclasses.replace(MANIFEST, **change).version != MANIFEST.version


def test_a_flat_file_has_exactly_the_bytes_of_its_rows() -> None:
    with pytest.raises(InvalidTableSpec, match="data_bytes"):
        dataclasses.replace(MANIFEST, data_bytes=MANIFEST.data_bytes - 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_rows", "10"),
        ("num_rows", 10.0),
        ("num_rows", True),
        ("num_rows", 0),
        ("row_bytes", 0),
        ("row_bytes", MIB + 1),
        ("backend", "paper"),
        ("digest", "md5"),
        ("format", 2),
        ("block_rows", 0),
        ("block_rows", 1 << 63),
        ("data_bytes", -(1 << 63) - 1),
        ("block_digests", ["0" * 32, "1" * 32, "2" * 32]),
        ("block_digests", ["0" * 32, 1]),
        ("row_format", "a\nb"),
        ("more", 1),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    fields = json.loads(MANIFEST.to_json()) | {field: value}

    with pytest.raises(InvalidTableSpec, match="must be|digests|unknown|needs|keys"):
        Manifest.from_json(json.dumps(fields).encode())


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_anything_else_is_refused_as_well(data: bytes | str) -> None:
    with pytest.raises(InvalidTableSpec):
        Manifest.from_json(data if isinstance(data, bytes) else data.encode())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"num_rows": 0, "row_bytes": 8}, "num_rows must be at least 1, got 0"),
        ({"num_rows": 1, "row_bytes": 0}, "got 0"),
        ({"num_rows": 1, "row_bytes": MIB + 1}, r"1 to 1,048,576 \(1 MiB\), got 1,048,577"),
        ({"num_rows": 1 << 62, "row_bytes": 4}, "more than a file can hold"),
        ({"num_rows": 1, "row_bytes": 1, "fingerprint": "x" * 1001}, "at most 1000 characters"),
    ],
)
def test_a_table_that_cannot_be_stored_is_refused_with_the_limit(spec: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidTableSpec, match=message):
        TableSpec(**spec)


@given(st.integers(1, MIB))
def test_a_block_is_about_one_mib_and_at_least_one_row(row_bytes: int) -> None:
    block_rows = default_block_rows(row_bytes)

    assert block_rows >= 1
    assert block_rows == 1 or 0.6 * MIB < block_rows * row_bytes < 2 * MIB

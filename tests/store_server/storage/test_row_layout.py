from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from store_server.storage.files.lmdb_file import LmdbFileWriter, lmdb_offsets
from store_server.storage.manifest import Manifest, TableSpec, default_block_rows
from store_server.storage.row_layout import FlatRows, RowsByAddress, ShiftedRows, row_layout
from store_server.storage.stored_version import StoredVersion


def manifest_of(num_rows: int, row_bytes: int, block_rows: int, data_bytes: int = 0) -> Manifest:
    return Manifest(
        num_rows=num_rows,
        row_bytes=row_bytes,
        row_format="",
        fingerprint="",
        backend="lmdb",
        data_bytes=data_bytes,
        block_rows=block_rows,
        block_digests=("",) * -(-num_rows // block_rows),
    )


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([0, 20], FlatRows),
        ([3, 23], FlatRows),
        ([3, 43], ShiftedRows),
        ([48, 3], ShiftedRows),
        ([3, 44], RowsByAddress),
    ],
)
def test_the_layout_follows_from_where_the_blocks_lie(offsets: list[int], expected: type) -> None:
    data = np.random.default_rng(0).integers(0, 256, 70, dtype=np.uint8)
    rows, out = np.array([7, 0, 3, 4, 4]), np.empty((5, 5), np.uint8)

    layout = row_layout(data, np.array(offsets), manifest_of(8, 5, 4))
    layout.gather(rows, out)

    starts = [offsets[row // 4] + row % 4 * 5 for row in rows]
    assert isinstance(layout, expected)
    assert np.array_equal(out, [data[start : start + 5] for start in starts])


@pytest.mark.parametrize("row_bytes", [160, 264, 1032])
def test_blocks_in_lmdb_lie_whole_rows_apart_however_many_there_are(tmp_path: Path, row_bytes: int) -> None:
    block_rows = default_block_rows(row_bytes)
    num_rows = 170 * block_rows + 1  # more blocks than one page of the B-tree can list
    writer = LmdbFileWriter(tmp_path / "rows", TableSpec(num_rows=num_rows, row_bytes=row_bytes), block_rows)
    block = np.zeros((block_rows, row_bytes), np.uint8)
    for _ in range(170):
        writer.write(block)
    writer.write(block[:1])
    writer.finish()

    manifest = manifest_of(num_rows, row_bytes, block_rows, (tmp_path / "rows").stat().st_size)
    stored = StoredVersion(table="t", version="v", directory=tmp_path, data_path=tmp_path / "rows", manifest=manifest)
    offsets = lmdb_offsets(stored)

    assert len(np.unique(offsets % row_bytes)) == 1
    assert len(np.unique(offsets)) == 171

"""What a manifest says of blocks that a patch replaced, and what it must not say."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from store_server.storage import InvalidTableSpec, Manifest
from store_server.storage.changed_blocks import ChangedBlocks

PLAIN = Manifest(
    num_rows=23,
    row_bytes=8,
    row_format="float32",
    fingerprint="f",
    backend="mmap",
    data_bytes=184,
    block_rows=5,
    block_digests=tuple(str(block) * 32 for block in range(5)),
)
PATCHED = dataclasses.replace(PLAIN, changed=ChangedBlocks(ranges=((1, 2), (3, 5)), file_bytes=3 + 13 * 8))


def test_a_patched_version_is_called_as_if_it_lay_in_one_file_and_survives_being_written_and_read() -> None:
    assert Manifest.from_json(PATCHED.to_json()) == PATCHED
    assert PATCHED.version == PLAIN.version
    assert "changed" not in json.loads(PLAIN.to_json())


def test_blocks_lie_one_behind_the_other_and_the_last_of_the_table_may_be_short() -> None:
    changed = PATCHED.changed

    assert np.flatnonzero(changed.are_changed(5)).tolist() == [1, 3, 4]
    assert changed.offsets(PATCHED).tolist() == [3, 43, 83]


@pytest.mark.parametrize(
    ("ranges", "file_bytes", "message"),
    [
        ([], 0, "ranges in order"),
        ([[3, 5], [1, 2]], 104, "ranges in order"),
        ([[1, 2], [2, 3]], 80, "ranges in order"),
        ([[1, 3], [2, 4]], 120, "ranges in order"),
        ([[1, 6]], 184, "blocks must lie in 0 to 5"),
        ([[1, 1]], 0, "blocks must lie in 0 to 5"),
        ([[1, 2], [3, 5]], 103, "must have 104 to 111 bytes, got 103"),
        ([[1, 2], [3, 5]], 112, "must have 104 to 111 bytes, got 112"),
        ([[1, 2.0]], 40, "two whole numbers"),
        ([[True, 2]], 40, "two whole numbers"),
        ([[1, 2, 3]], 40, "two whole numbers"),
        ({"1": 2}, 40, "two whole numbers"),
        ([[1, 2]], "40", "two whole numbers"),
    ],
)
def test_a_manifest_with_changed_blocks_that_cannot_be_is_refused(
    ranges: object, file_bytes: object, message: str
) -> None:
    fields = json.loads(PLAIN.to_json())
    fields["changed"] = {"ranges": ranges, "file_bytes": file_bytes}

    with pytest.raises(InvalidTableSpec, match=message):
        Manifest.from_json(json.dumps(fields).encode())

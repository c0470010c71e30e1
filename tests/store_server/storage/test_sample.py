"""The sample is read at the places that it promises, and nowhere else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from store_server.storage import StorageFailure
from store_server.storage.sample import sample_digest

CONTENT = np.random.default_rng(0).bytes(100_000)
OFFSET = 123


@pytest.mark.parametrize("num_bytes", [1, 1_023, 1_024, 1_025, 5_000, 99_000])
def test_the_digest_is_that_of_the_two_ends_and_of_places_between_them(tmp_path: Path, num_bytes: int) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    tensor = CONTENT[OFFSET : OFFSET + num_bytes]
    places = sorted({max(0, num_bytes - 1_024) * piece // 31 for piece in range(32)})
    pieces = b"".join(tensor[place : place + 1_024] for place in places)
    assert sample_digest(tmp_path / "file", OFFSET, num_bytes) == hashlib.sha256(pieces).hexdigest()
    assert pieces.startswith(tensor[:1_024])
    assert pieces.endswith(tensor[-1_024:])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="none: No such file"):
        sample_digest(tmp_path / "none", 0, 10)

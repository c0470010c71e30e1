from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store_server.storage import Backend


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_table_whose_pages_were_dropped_is_not_resident_until_they_are_read_again(
    root: Path, publish: Callable[..., str], open_version: Callable[..., Backend], backend: str
) -> None:
    publish(root, "t", np.ones((9_000, 264), np.uint8), backend=backend)
    opened = open_version(root, "t")
    path = next(root.glob("tables/t/versions/*/rows.*"))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    opened.refresh_residency()
    if opened.resident:
        pytest.skip("this file system holds its pages in RAM (tmpfs)")
    path.read_bytes()
    opened.refresh_residency()

    assert opened.resident


def test_nothing_is_known_before_the_kernel_was_asked(
    root: Path, publish: Callable[..., str], open_version: Callable[..., Backend]
) -> None:
    publish(root, "t", np.ones((10, 8), np.uint8))

    assert not open_version(root, "t").resident


def test_huge_pages_are_a_wish_that_never_fails(
    root: Path, publish: Callable[..., str], open_version: Callable[..., Backend]
) -> None:
    rows = np.arange(100, dtype=np.uint8).reshape(10, 10)
    publish(root, "t", rows)

    opened = open_version(root, "t", in_memory=True, huge_pages=True)

    assert opened.resident
    assert np.array_equal(next(opened.blocks()), rows)

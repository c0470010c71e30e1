"""Several files in one range of addresses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from store_server.storage.pages.file_map import FileMap
from store_server.storage.pages.joined_map import JoinedMap

PAGE = 4096
SIZES = (3 * PAGE + 5, 2 * PAGE, PAGE - 1)
JOINED = [0, 4 * PAGE, 6 * PAGE]


class PartMap(FileMap):
    """A map that remembers what it is to forget."""

    def __init__(self, path: Path, descriptor: int, num_bytes: int) -> None:
        super().__init__(path, descriptor, num_bytes)
        self.dropped: list[tuple[int, int]] = []

    def drop_cached(self, start: int, num_bytes: int) -> None:
        self.dropped.append((start, num_bytes))


@pytest.fixture
def contents() -> list[bytes]:
    return [np.random.default_rng(number).bytes(size) for number, size in enumerate(SIZES)]


@pytest.fixture
def parts(tmp_path: Path, contents: list[bytes]) -> list[PartMap]:
    maps = []
    for number, content in enumerate(contents):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with path.open("rb") as file:
            maps.append(PartMap(path, file.fileno(), len(content)))
    return maps


def test_each_file_begins_at_a_page_and_is_read_where_it_begins(
    tmp_path: Path, parts: list[PartMap], contents: list[bytes]
) -> None:
    joined = JoinedMap(tmp_path, parts)

    assert list(joined.starts) == JOINED
    assert joined.data.size == 7 * PAGE - 1
    assert not joined.data.flags.writeable
    for start, content in zip(joined.starts, contents, strict=True):
        assert joined.data[start : start + len(content)].tobytes() == content


def test_pages_are_forgotten_of_the_file_that_holds_them(tmp_path: Path, parts: list[PartMap]) -> None:
    joined = JoinedMap(tmp_path, parts)

    joined.drop_cached(PAGE, PAGE)
    joined.drop_cached(3 * PAGE, 3 * PAGE)
    joined.drop_cached(6 * PAGE, PAGE)

    assert [part.dropped for part in parts] == [[(PAGE, PAGE), (3 * PAGE, 5)], [(0, 2 * PAGE)], [(0, PAGE - 1)]]


def test_a_file_that_was_cut_short_is_missed_though_another_has_grown(tmp_path: Path, parts: list[PartMap]) -> None:
    joined = JoinedMap(tmp_path, parts)
    assert joined.file_bytes() == joined.file_bytes_needed == sum(SIZES)

    os.truncate(tmp_path / "0", 2 * PAGE)
    os.truncate(tmp_path / "1", 9 * PAGE)

    assert joined.file_bytes() == sum(SIZES) - PAGE - 5

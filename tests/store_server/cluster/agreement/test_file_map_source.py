"""A shard map in a file."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import read_shard_map, write_shard_map
from store_server.cluster.agreement.file_map_source import FileMapSource, path_of
from store_server.cluster.agreement.map_source import MapSourceFailed

FIRST = shard_map_of()
PATIENCE_SECONDS = 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "map.json"


@pytest.fixture
def source(path):
    return FileMapSource(path, look_seconds=0.005)


def replace(path, text):
    """As an editor or `kubectl` does."""
    path.with_name("next").write_text(text)
    path.with_name("next").replace(path)


async def heard(maps):
    return await asyncio.wait_for(anext(maps), PATIENCE_SECONDS)


async def test_what_is_there_comes_first_and_then_each_map_that_replaces_it(path, source):
    async with contextlib.aclosing(source.follow()) as maps:
        assert await heard(maps) is None

        for shard_map in (FIRST, later(FIRST), FIRST):
            replace(path, write_shard_map(shard_map))
            assert await heard(maps) == shard_map


@pytest.mark.parametrize(
    "wrong", ["", "{", "[]", '{"epoch": 0}', '{"cluster": "c", "epoch": 3, "replicas": 2}', "\xff"]
)
async def test_a_file_that_holds_no_whole_map_is_a_source_that_fails(path, source, wrong):
    path.write_bytes(wrong.encode("latin-1"))

    with pytest.raises(MapSourceFailed, match=r"map\.json: "):
        await heard(source.follow())


async def test_a_file_that_cannot_be_read_is_a_source_that_fails(path, source):
    path.mkdir()

    with pytest.raises(MapSourceFailed, match=r"map\.json: Is a directory"):
        await heard(source.follow())


async def test_a_file_that_is_too_large_for_a_map_is_not_read_to_its_end(path, source):
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(MapSourceFailed, match=r"map\.json: the file of a shard map has at most 16,777,216 bytes"):
        await heard(source.follow())


async def test_a_map_is_swapped_only_for_the_one_that_was_expected(path, source):
    assert not await source.compare_and_swap(1, later(FIRST))
    assert not path.exists()
    assert await source.compare_and_swap(0, FIRST)
    assert not await source.compare_and_swap(0, later(FIRST))
    assert read_shard_map(path.read_text()) == FIRST
    assert await source.compare_and_swap(1, later(FIRST))
    assert read_shard_map(path.read_text()) == later(FIRST)


async def test_of_many_who_swap_at_once_one_wins(path):
    await FileMapSource(path).compare_and_swap(0, FIRST)
    proposals = [later(FIRST, cluster=f"by-{number}") for number in range(20)]

    won = await asyncio.gather(*(FileMapSource(path).compare_and_swap(1, each) for each in proposals))

    assert won.count(True) == 1
    assert read_shard_map(path.read_text()) == proposals[won.index(True)]


async def test_what_a_killed_writer_left_stands_in_nobodys_way(path, source):
    path.with_name("map.json.new").write_text("half")

    assert await source.compare_and_swap(0, FIRST)
    assert read_shard_map(path.read_text()) == FIRST


async def test_a_file_that_holds_no_map_is_not_replaced(path, source):
    path.write_text("{")

    with pytest.raises(MapSourceFailed, match="no shard map"):
        await source.compare_and_swap(0, FIRST)

    assert path.read_text() == "{"


@pytest.mark.parametrize(
    ("url", "path"), [("file:///srv/map.json", Path("/srv/map.json")), ("file:///a%20b/m", Path("/a b/m"))]
)
def test_a_file_is_named_by_a_url(url, path):
    assert path_of(url) == path


@pytest.mark.parametrize("url", ["file://host/map.json", "file:map.json", "file:///", "file:///srv/", "http://h/m", ""])
def test_a_url_of_no_file_is_refused(url):
    with pytest.raises(ValueError, match=r"file:///PATH with the whole path"):
        path_of(url)

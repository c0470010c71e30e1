"""A data root behind a web server: blocks in one file or in two, right, wrong, cut short, or gone."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.http_root import http_root
from support.parts import block_bytes, manifest_of, writer_of
from support.patches import patch_table, with_rows
from support.rows import random_rows
from support.tables import write_table

from store_server.cluster.blocks.block_source import FileSource, SourceFailed, block_source
from store_server.cluster.blocks.copying import copy_blocks
from store_server.cluster.blocks.right_blocks import CannotCopy
from store_server.storage import DataRoot

BLOCK_ROWS, NUM_BLOCKS = 4_095, 6
TABLE = random_rows(5 * BLOCK_ROWS + 100, 264)
IDS = [5 * BLOCK_ROWS + 99, 2 * BLOCK_ROWS + 7, 3 * BLOCK_ROWS]
"""In blocks 2, 3 and the last, which is short."""
NEW = random_rows(3, 264, seed=1)
PATCHED = with_rows(TABLE, IDS, NEW)
BLOCKS = {block: block_bytes(PATCHED, BLOCK_ROWS, block) for block in range(NUM_BLOCKS)}


def write_patched(root: Path) -> Path:
    write_table(root, "t", TABLE)
    patch_table(root, "t", IDS, NEW)
    assert manifest_of(root, "t").changed.are_changed(NUM_BLOCKS).tolist() == [False, False, True, True, False, True]
    return root


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A data root with a patched version, which nobody changes."""
    return write_patched(tmp_path_factory.mktemp("origin") / "root")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "tables").mkdir(parents=True)
    return DataRoot.open(tmp_path / "root")


def rows_of(root: DataRoot) -> np.ndarray:
    out = np.empty_like(TABLE)
    with closing(root.open_backend("t", root.current_version("t"))) as backend:
        backend.gather(np.arange(len(TABLE)), out)
    return out


def test_only_those_blocks_of_both_files_are_asked_for_that_are_held_there(tmp_path: Path) -> None:
    root = write_patched(tmp_path / "root")
    with writer_of(root, "t") as writer:
        writer.let_go([(0, 1), (3, 4)])

    with http_root(root) as url, closing(block_source(url)) as source:
        found = dict(source.blocks("t", manifest_of(root, "t"), 0, NUM_BLOCKS))

    assert found == {block: BLOCKS[block] for block in (1, 2, 4, 5)}


def test_a_copy_that_is_one_file_goes_on_from_a_web_server_where_they_are_two(root: DataRoot, origin: Path) -> None:
    version = manifest_of(origin, "t").version
    copy_blocks(root, "t", version, [(0, 3)], [FileSource(origin)])
    with http_root(origin) as url, closing(block_source(url)) as source:
        copy_blocks(root, "t", version, None, [source])

    assert np.array_equal(rows_of(root), PATCHED)


@pytest.mark.parametrize("file", ["rows.bin", "changed.bin"])
@pytest.mark.parametrize(
    ("unruly", "says"),
    [
        ("truncates", "after .* of .* bytes"),
        ("is_cut_short", "asked for bytes .*, the server sends bytes "),
        ("changes_a_bit", "expected digest"),
        ("hangs", "timed out"),
        ("answers_nothing", "timed out"),
        ("trickles_its_head", "timed out"),
        ("ignores_ranges", "the server ignores ranges"),
        ("redirects", "answered 302 .* leads to http://elsewhere.invalid/.*; name that server instead"),
        ("sends_another_range", "the server sends bytes 0-99/"),
        ("is_away", "answered 404"),
    ],
)
def test_what_a_web_server_does_wrong_with_either_file_is_named_and_no_wrong_block_kept(
    root: DataRoot, origin: Path, file: str, unruly: str, says: str
) -> None:
    """Blocks 3 and 4 are in different files."""
    version, bad_block = manifest_of(origin, "t").version, {"rows.bin": 4, "changed.bin": 3}[file]
    with http_root(origin, unruly, file) as url, closing(block_source(url, wait_seconds=0.2)) as source:
        with pytest.raises(CannotCopy, match=f"{url}.*{says}"):
            copy_blocks(root, "t", version, [(bad_block, bad_block + 1)], [source])
        copy_blocks(root, "t", version, None, [source, FileSource(origin)])

    assert np.array_equal(rows_of(root), PATCHED)


def test_which_blocks_are_held_there_is_not_asked_for_each_batch(root: DataRoot, origin: Path) -> None:
    asked: Counter[str] = Counter()
    with http_root(origin, asked=asked) as url, closing(block_source(url)) as source:
        copy_blocks(root, "t", manifest_of(origin, "t").version, None, [source], batch_bytes=1)

    assert (asked["held.json"], asked["rows.bin"] + asked["changed.bin"]) == (1, NUM_BLOCKS)
    assert np.array_equal(rows_of(root), PATCHED)


def test_a_web_server_whose_versions_are_in_lmdb_is_refused_with_what_to_name_instead(tmp_path: Path) -> None:
    write_table(tmp_path / "root", "t", TABLE, backend="lmdb")
    manifest = manifest_of(tmp_path / "root", "t")

    says = "as 'lmdb', and only flat files .* grpc://HOST:PORT"
    with (
        http_root(tmp_path / "root") as url,
        closing(block_source(url)) as source,
        pytest.raises(SourceFailed, match=says),
    ):
        list(source.blocks("t", manifest, 0, 1))


@pytest.mark.parametrize(("content", "says"), [(b"{}", "sends no manifest"), (None, "sends another manifest")])
def test_a_web_server_that_sends_another_manifest_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    root = tmp_path / "root"
    write_table(root, "t", TABLE)
    first = manifest_of(root, "t")
    patch_table(root, "t", IDS, NEW)
    other = content or manifest_of(root, "t").to_json()
    (root / "tables" / "t" / "versions" / first.version / "table.json").write_bytes(other)

    with http_root(root) as url, closing(block_source(url)) as source, pytest.raises(SourceFailed, match=says):
        list(source.blocks("t", first, 0, 1))

"""Links in a data root that lead out of what a node may read, also those that appear while it reads."""

import pytest
from support.parts import manifest_of
from support.rows import random_rows
from support.tables import write_table

from store_server.access.allowed_sources import AllowedSources
from store_server.cluster.blocks.block_source import FileSource, SourceFailed

ROWS = random_rows(100, 16)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "allowed" / "root"
    root.parent.mkdir()
    write_table(root, "t", ROWS)
    return root


@pytest.fixture
def source(root):
    return FileSource(root, AllowedSources.parse([root.parent.as_uri()]))


def read(source, root) -> list:
    manifest = manifest_of(root, "t")
    source.manifest("t", manifest.version)
    return list(source.blocks("t", manifest, 0, manifest.num_blocks))


def moved_out(path, tmp_path) -> None:
    """Put a link in the place of a file or directory whose content, just as right, lies outside."""
    outside = tmp_path / "outside" / path.name
    outside.parent.mkdir(exist_ok=True)
    path.rename(outside)
    path.symlink_to(outside)


def test_what_lies_inside_is_read_by_whatever_link(root, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(root)

    assert read(FileSource(link, AllowedSources.parse([root.parent.as_uri()])), root) == [(0, ROWS.tobytes())]


@pytest.mark.parametrize("what", ["root", "tables", "version", "rows"])
def test_no_link_leads_out(root, source, tmp_path, what):
    version = next((root / "tables" / "t" / "versions").iterdir())
    rows = next(path for path in version.iterdir() if path.suffix != ".json")
    moved_out({"root": root, "tables": root / "tables", "version": version, "rows": rows}[what], tmp_path)

    with pytest.raises(SourceFailed, match="is no source that this node may use"):
        read(source, root)


class SwappedMeanwhile:
    """Allows what it is told to; once a directory was looked at, another lies in its place."""

    def __init__(self, allowed: AllowedSources, swap) -> None:
        self._allowed, self._swap = allowed, swap
        self.require_file = allowed.require_file

    def require_path(self, path):
        real = self._allowed.require_path(path)
        self._swap()
        return real


def test_a_link_that_appears_between_the_look_and_the_reading_leads_nowhere_either(root, tmp_path):
    manifest, allowed = manifest_of(root, "t"), AllowedSources.parse([root.parent.as_uri()])
    source = FileSource(root, SwappedMeanwhile(allowed, lambda: moved_out(root, tmp_path)))

    with pytest.raises(SourceFailed, match="is no source that this node may use"):
        list(source.blocks("t", manifest, 0, 1))


def test_without_a_limit_links_are_followed(root, tmp_path):
    moved_out(root / "tables", tmp_path)

    assert read(FileSource(root), root) == [(0, ROWS.tobytes())]

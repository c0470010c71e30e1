"""What a node notes of the versions that it copied."""

import pytest
from structlog.testing import capture_logs

from engram_store.shard_map import VersionKey
from store_server.cluster.holdings.copies import Copies


def test_copies_are_known_again(tmp_path):
    Copies(tmp_path).add(VersionKey("a", "v1"))

    assert list(Copies(tmp_path)) == [VersionKey("a", "v1")]


@pytest.mark.parametrize("content", [b"", b"7", b"[7]", b"\xff", b"[" * 100_000])
def test_of_a_note_that_cannot_be_read_nothing_was_copied(tmp_path, content):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "copies.json").write_bytes(content)

    with capture_logs() as logs:
        assert list(Copies(tmp_path)) == []

    assert logs[0]["event"] == "it is not known which versions were copied"

"""What a node copies from: nodes of its own map, and what its operator allows."""

import pytest
from support.parts import manifest_of
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import Node
from store_server.access.allowed_sources import AllowedSources
from store_server.cluster.blocks.block_source import FileSource, SourceFailed
from store_server.cluster.blocks.block_source_grpc import GrpcSource
from store_server.cluster.blocks.copy_sources import CopySources

ROWS = random_rows(10, 16)


def test_by_default_whoever_the_map_names_as_a_node_or_a_publisher_is_copied_from_and_no_file(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    sources, version = CopySources(), manifest_of(tmp_path / "root", "t").version

    assert isinstance(sources.open("grpc://127.0.0.1:1"), GrpcSource)
    for url in ((tmp_path / "root").as_uri(), "http://127.0.0.1:1/root"):
        with pytest.raises(SourceFailed, match="is no source that this node may use"):
            sources.open(url).manifest("t", version)


def test_an_allowed_file_is_copied_from_and_no_link_out_of_it(tmp_path):
    root = tmp_path / "allowed" / "root"
    root.parent.mkdir()
    write_table(root, "t", ROWS)
    (tmp_path / "outside").symlink_to(root)
    sources, version = CopySources(allowed=AllowedSources.parse([root.parent.as_uri()])), manifest_of(root, "t").version

    assert isinstance(sources.open(root.as_uri()), FileSource)
    assert sources.open(root.as_uri()).manifest("t", version)
    root.rename(tmp_path / "moved")
    root.symlink_to(tmp_path / "moved")
    with pytest.raises(SourceFailed, match="is no source that this node may use"):
        sources.open(root.as_uri()).manifest("t", version)


def test_the_nodes_of_the_map_need_not_be_named():
    sources = CopySources(allowed=AllowedSources.parse(["file:///data"]))
    with pytest.raises(SourceFailed):
        sources.open("grpc://127.0.0.1:7").manifest("t", "0" * 32)

    sources.know(shard_map_of(Node(id="a", address="127.0.0.1:7")))

    assert isinstance(sources.open("grpc://127.0.0.1:7"), GrpcSource)
    assert not isinstance(sources.open("grpc://127.0.0.1:8"), GrpcSource)

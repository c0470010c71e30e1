"""What is shown of a cluster whose map is a file; of others the tests of publishing and leaving see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.shard_maps import shard_map_of

from engram_store.shard_map import Node, write_shard_map


def test_the_map_of_a_file_is_shown_of_whose_nodes_nobody_knows_whether_they_are_alive(
    run: Callable, tmp_path: Path
) -> None:
    shard_map = shard_map_of(Node(id="a", address="h:1"), Node(id="b", address="h:2"))
    (tmp_path / "map.json").write_text(write_shard_map(shard_map))

    shown = run("cluster", (tmp_path / "map.json").as_uri())

    lines = shown.out.splitlines()
    assert shown.status == 0, shown.err
    assert lines[0].startswith(f"cluster {shard_map.cluster}  epoch {shard_map.epoch}")
    nodes = [line.split("  ")[:4] for line in lines if line.startswith("node")]
    assert nodes == [["node", "a", "h:1", "not registered"], ["node", "b", "h:2", "not registered"]]

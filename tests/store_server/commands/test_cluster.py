"""What is shown of a cluster: whom it counts as alive, how many living copies are left, and what is on its way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.network import free_ports
from support.shard_maps import shard_map_of

from engram_store.shard_map import Node, Shard, ShardMap, write_shard_map
from store_server.cluster.node_answers import NodeAnswer
from store_server.cluster.registration import NodeRegistration
from store_server.commands.cluster_lines import Seen, lines

A, B, C = (Node(id=name, address=f"{name}:1") for name in "abc")
SERVES = NodeAnswer(epoch=1)


def map_of(*holders: tuple[int, ...], nodes: tuple[Node, ...] = (A, B, C)) -> ShardMap:
    """Two replicas of a table whose shards of ten rows have these holders."""
    found = shard_map_of(*nodes, replicas=2, num_rows=10 * len(holders))
    (version,) = found.versions.values()
    shards = tuple(Shard(end_row=10 * number, holders=each) for number, each in enumerate(holders, 1))
    return replace(found, versions={version.key: replace(version, shards=shards)})


def living(*nodes: Node, bytes_used: int = 0) -> dict[str, NodeRegistration]:
    return {node.id: NodeRegistration(node=node, incarnation="1", bytes_used=bytes_used) for node in nodes}


def columns(seen: Seen, kind: str) -> list[list[str]]:
    """Return the lines of one kind, without that and cut into their columns."""
    return [re.split(" {2,}", line)[1:] for line in lines(seen) if line.startswith(kind)]


def states(seen: Seen) -> list[str]:
    return [line[2] for line in columns(seen, "node")]


def test_copies_on_nodes_that_are_away_are_no_living_ones() -> None:
    shard_map = map_of((0, 1), (1, 2), (0, 2), (1,))

    def shown(*nodes: Node) -> str:
        answers = {node.id: SERVES for node in (A, B, C)}
        return columns(Seen(shard_map=shard_map, answers=answers, living=living(*nodes)), "version")[0][3]

    assert shown(A, B, C) == (
        "4 shards, 1 has fewer than 2 living copies, 1 lacks replicas in the map, 0 are being copied"
    )
    assert shown(A, C) == (
        "4 shards, 3 have fewer than 2 living copies, 1 has none, 1 lacks replicas in the map, 0 are being copied"
    )


def test_copies_on_nodes_that_are_registered_and_do_not_answer_are_no_living_ones() -> None:
    seen = Seen(shard_map=map_of((0, 1)), answers={"a": SERVES}, living=living(A, B, C))

    assert columns(seen, "version")[0][3].startswith("1 shard, 1 has fewer than 2 living copies")


def test_where_nodes_do_not_register_those_are_alive_that_answer() -> None:
    shard_map = map_of((0, 1))

    def shown(*nodes: Node) -> str:
        return columns(Seen(shard_map=shard_map, answers={node.id: SERVES for node in nodes}), "version")[0][3]

    assert shown(A, B).startswith("1 shard, 0 have fewer than 2 living copies, 0 lack")
    assert shown(A).startswith("1 shard, 1 has fewer than 2 living copies, 0 lack")
    assert states(Seen(shard_map=shard_map, answers={"b": SERVES})) == [
        "does not answer",
        "answers, goes by epoch 1",
        "does not answer",
    ]


@pytest.mark.parametrize(
    ("is_registered", "answer", "state"),
    [
        (True, SERVES, "alive, answers, goes by epoch 1"),
        (True, NodeAnswer(epoch=3), "alive, answers, goes by epoch 3, not 1"),
        (True, NodeAnswer(epoch=1, is_other_map=True), "alive, answers, goes by another map of epoch 1: raise it"),
        (True, NodeAnswer(epoch=None), "alive, answers, knows no map yet"),
        (True, NodeAnswer(epoch=0), "alive, answers, is in no cluster"),
        (True, None, "alive, does not answer"),
        (False, SERVES, "away, answers, goes by epoch 1"),
        (False, NodeAnswer(epoch=1, is_stopping=True), "is stopping and serves still, goes by epoch 1"),
        (False, None, "away"),
    ],
)
def test_a_node_is_shown_as_others_see_it_and_as_it_answers(
    is_registered: bool, answer: NodeAnswer | None, state: str
) -> None:
    answers = {} if answer is None else {"a": answer}
    shard_map = map_of((0,), nodes=(A, B))

    shown = states(Seen(shard_map=shard_map, answers=answers, living=living(*([A] if is_registered else []))))[0]
    leaving = replace(shard_map, nodes=(replace(A, draining=True), B))

    assert shown.startswith(state)
    assert states(Seen(shard_map=leaving, answers={}, living=living(A)))[0] == "alive, does not answer, leaving"


def test_nodes_are_in_the_order_of_their_ids_and_columns_below_each_other() -> None:
    long = Node(id="node-10", address="127.0.0.1:50110", labels={"zone": "a"}, capacity_bytes=500)
    shard_map = map_of((0, 1), (0,), nodes=(long, A))

    shown = list(lines(Seen(shard_map=shard_map, answers={}, living=living(long, bytes_used=400))))

    assert shown[:3] == [
        f"cluster {shard_map.cluster}  epoch 1  2 replicas",
        "node  a        a:1              away                    160 bytes by the map",
        "node  node-10  127.0.0.1:50110  alive, does not answer  320 of 500 bytes by the map, 400 on its disk  zone=a",
    ]
    assert shown[-1] == "total  320 bytes in these versions, 480 bytes on all nodes by the map"


def test_a_node_whose_disk_takes_no_more_rows_says_why_at_the_end_of_its_line() -> None:
    shard_map, nodes = map_of((0, 1), nodes=(A, B)), living(A, B)
    nodes["a"] = replace(nodes["a"], disk_failure="the disk is full:  0 bytes\nare left")

    of_a, of_b = columns(Seen(shard_map=shard_map, answers={}, living=nodes), "node")

    assert of_a[-1] == "takes no more rows: the disk is full: 0 bytes are left"
    assert len(of_b) == len(of_a) - 1


def test_of_pending_versions_it_is_shown_whether_their_publisher_is_alive() -> None:
    shard_map = map_of((0, 1))
    (each,) = shard_map.sets.values()
    pending = replace(shard_map, sets={each.name: replace(each, pending={"layer-1": "v1"}, publisher="p")})

    def shown(*publishers: str, found: ShardMap = pending) -> list[list[str]]:
        return columns(Seen(shard_map=found, answers={}, living={}, publishers=publishers), "set")

    assert shown("p")[-1] == ["model", "pending", "its publisher is alive"]
    assert shown("q")[-1][2].startswith("its publisher has gone: nodes drop what is pending --lost-after after")
    assert shown(found=shard_map) == [["model", "current", "layer-1", "v1"]]


def test_a_cluster_whose_map_is_a_file_is_shown_though_none_of_its_nodes_runs(run: Callable, tmp_path: Path) -> None:
    nodes = [Node(id=str(port), address=f"127.0.0.1:{port}") for port in free_ports(2)]
    (tmp_path / "map.json").write_text(write_shard_map(shard_map_of(*nodes)))

    shown = run("cluster", (tmp_path / "map.json").as_uri())

    assert shown.status == 0, shown.err
    assert [re.split(" {2,}", line)[3] for line in shown.out.splitlines() if line.startswith("node")] == [
        "does not answer",
        "does not answer",
    ]

"""What a node sees of its cluster: who is missing of the nodes in the map, and which rows have a copy too few."""

from dataclasses import replace

import pytest
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node, Shard
from store_server.cluster.known_map import KnownMap
from store_server.cluster.wholeness import Wholeness, num_lost, short_rows

A, B, C = (Node(id=name, address=f"h:{number}") for number, name in enumerate("abc", start=1))


def held_twice(*shards):
    """A map of three nodes, whose table is to be held by two of them."""
    found = shard_map_of(A, B, C, replicas=2, num_rows=shards[-1].end_row)
    (version,) = found.versions.values()
    return replace(found, versions={version.key: replace(version, shards=shards)})


TWICE = held_twice(
    Shard(end_row=40, holders=(0, 1)), Shard(end_row=70, holders=(1, 2)), Shard(end_row=100, holders=(0, 2))
)


@pytest.mark.parametrize(
    ("alive", "rows"), [({"a", "b", "c"}, 0), ({"a", "b"}, 60), ({"b", "c"}, 70), ({"a"}, 100), ((), 100)]
)
def test_rows_are_short_whose_living_holders_are_fewer_than_the_copies_wanted(alive, rows):
    assert short_rows(TWICE, alive) == {"layer-1": rows}


def test_who_still_fetches_rows_does_not_count_as_a_copy():
    joining = held_twice(Shard(end_row=100, holders=(0,), joining=(1,)))

    assert short_rows(joining, {"a", "b", "c"}) == {"layer-1": 100}


def test_versions_that_are_not_current_may_be_short():
    (old,) = TWICE.versions.values()
    lonely = replace(old, version="v0", shards=(Shard(end_row=100, holders=(0,)),))

    assert short_rows(replace(TWICE, versions={**TWICE.versions, lonely.key: lonely}), {"a", "b", "c"}) == {
        "layer-1": 0
    }


def test_nodes_are_lost_that_leave_the_map_without_having_been_told_to():
    before = shard_map_of(A, replace(B, draining=True), C)

    assert num_lost(before, later(before, nodes=(A, C))) == 0
    assert num_lost(before, later(before, nodes=(A,))) == 1
    assert num_lost(before, later(before, nodes=(A, B, C))) == 0


def test_a_node_counts_those_lost_from_map_to_map(tmp_path):
    whole = Wholeness(KnownMap(tmp_path), lambda: {"a"})
    first = shard_map_of(A, B, C)
    second = later(first, nodes=(A, B))

    for found in (first, None, first, second, first, later(second, nodes=(A,))):
        whole.heard(found)

    assert whole.num_lost == 2


def test_only_what_can_be_seen_is_told(tmp_path):
    known = KnownMap(tmp_path)
    alive = {"a", "b", "of another cluster"}
    whole = Wholeness(known, lambda: alive)

    assert (whole.nodes(), whole.short_rows()) == ({}, {})
    known.take(TWICE)
    assert (whole.nodes(), whole.short_rows()) == ({"in_map": 3, "alive": 2}, {"layer-1": 60})
    alive = None
    assert (whole.nodes(), whole.short_rows()) == ({"in_map": 3}, {})

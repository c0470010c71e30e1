"""Maps in which a node is to leave: who may, and how long it is needed."""

from dataclasses import replace

import pytest
from support.placements import SHARD_BYTES, a_node, a_version, held

from engram_store.shard_map import ShardMap, TableSet
from store_server.cluster.next_map.leaving import CannotLeave, is_leaving, leaving, needed_for, staying

VERSION = held(a_version(3), [(0, 1), (1, 2), (2, 0)])
NODES = tuple(a_node(f"n{number}") for number in range(3))
KNOWN = ShardMap(
    cluster="c",
    epoch=5,
    replicas=2,
    nodes=NODES,
    versions={VERSION.key: VERSION},
    sets={"s": TableSet(name="s", current={VERSION.table: VERSION.version})},
)
LIVING = {"n0", "n1", "n2"}


def test_a_node_that_is_to_leave_is_so_in_the_next_map_until_it_is_taken_back():
    following = leaving(KNOWN, "n1", LIVING)

    assert following == replace(KNOWN, epoch=6, nodes=(NODES[0], replace(NODES[1], draining=True), NODES[2]))
    assert is_leaving(following, "n1")
    assert leaving(following, "n1", LIVING) is following
    assert staying(following, "n1") == replace(KNOWN, epoch=7)
    assert staying(KNOWN, "n1") is KNOWN


def test_a_node_is_needed_for_every_shard_that_names_it():
    assert needed_for(KNOWN, "n1") == (2, 2 * SHARD_BYTES)
    only_joining = replace(VERSION.shards[0], holders=(0,), joining=(1,))
    without = replace(VERSION, shards=(only_joining, *(replace(each, holders=(2,)) for each in VERSION.shards[1:])))
    assert needed_for(replace(KNOWN, versions={VERSION.key: without}), "n1") == (1, SHARD_BYTES)
    assert needed_for(KNOWN, "n9") == (0, 0)


@pytest.mark.parametrize("which", [leaving, staying, is_leaving])
def test_a_node_that_the_map_does_not_know_is_refused_with_those_that_it_knows(which):
    with pytest.raises(CannotLeave, match="cluster 'c' has no node 'n7', it has n0, n1, n2"):
        which(KNOWN, "n7", *([LIVING] if which is leaving else []))


@pytest.mark.parametrize("why", ["another is away", "another leaves", "each row is on all"])
def test_as_many_nodes_must_stay_as_are_to_hold_each_row(why):
    known, living, others = KNOWN, LIVING, 1
    if why == "another is away":
        living = LIVING - {"n0"}
    elif why == "another leaves":
        known = leaving(KNOWN, "n0", LIVING)
    else:
        known, others = replace(KNOWN, replicas=3), 2

    with pytest.raises(
        CannotLeave,
        match=f"there {'is 1 living node' if others == 1 else 'are 2 living nodes'}, and each row is to be on ",
    ):
        leaving(known, "n1", living)


def test_the_nodes_that_stay_must_have_the_memory():
    small = tuple(replace(node, capacity_bytes=2 * SHARD_BYTES) for node in NODES)

    with pytest.raises(CannotLeave, match="the other nodes have not enough memory"):
        leaving(replace(KNOWN, nodes=small), "n1", LIVING)

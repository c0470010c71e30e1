"""Whom a publisher says that it waits for: pure, of maps and of who is alive."""

from dataclasses import replace

import pytest
from support.shard_maps import shard_map_of

from engram_store.shard_map import Node, Shard
from store_server.cluster.standstill import whom_it_waits_for

NODES = tuple(Node(id=name, address=f"{name}:1") for name in "abcde")
KNOWN = shard_map_of(*NODES, replicas=2)
(VERSION,) = KNOWN.versions.values()
VERSIONS = {VERSION.table: VERSION.version}


def waited_for(*shards, living):
    shards = tuple(Shard(end_row=100, holders=holders, joining=joining) for holders, joining in shards)
    return whom_it_waits_for(
        replace(KNOWN, versions={VERSION.key: replace(VERSION, shards=shards)}, sets={}), VERSIONS, living
    )


@pytest.mark.parametrize(
    ("shard", "living", "said"),
    [
        (((0,), (1,)), "acde", "waiting for b, which is away: its part goes to others --lost-after after its death"),
        (((), (2, 1)), "ade", "waiting for b, c, which are away: their part goes to others --lost-after after their"),
        (((0,), (1,)), "ae", "waiting for b, which is away: its part goes to others --all-lost-after after its death"),
        (((0,), (1,)), "abcd", ""),
        (((0, 2), (1,)), "acde", ""),
        (((0,), ()), "a", ""),
    ],
)
def test_those_are_waited_for_who_are_away_and_are_to_fetch_what_has_too_few_holders(shard, living, said):
    found = waited_for(shard, living=living)

    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_other_versions_are_not_waited_for():
    shards = (Shard(end_row=100, holders=(), joining=(1,)),)

    found = replace(KNOWN, versions={VERSION.key: replace(VERSION, shards=shards)}, sets={})

    assert whom_it_waits_for(found, {"layer-1": "v9"}, "a") == ""

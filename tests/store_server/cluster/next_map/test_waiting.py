"""How long a node waits for others that are away, seen over time."""

from dataclasses import replace

from support.living_nodes import registration
from support.placements import a_version, held, some_nodes

from engram_store.shard_map import ShardMap
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.next_map.waiting import Waiting

CONFIG = ClusterConfig(
    url="etcd://h:1/c", node_id="n0", lease_seconds=10, lost_after_seconds=30, all_lost_after_seconds=600
)
KNOWN = ShardMap(cluster="c", epoch=1, replicas=2, nodes=tuple(some_nodes(4)))


def present(*numbers):
    return {f"n{number}": registration(KNOWN.nodes[number], {}) for number in numbers}


def lost_at(waiting, now, *numbers):
    waiting.look(KNOWN, present(*numbers), now)
    return waiting.over(KNOWN, present(*numbers))[0]


def test_the_last_of_many_that_were_away_together_is_waited_for_as_one_that_has_just_gone():
    waiting = Waiting(CONFIG)

    assert lost_at(waiting, 0.0, 0) == set()
    assert lost_at(waiting, 100.0, 0) == set()
    assert lost_at(waiting, 101.0, 0, 1, 2) == set()
    assert lost_at(waiting, 130.0, 0, 1, 2) == set()
    assert lost_at(waiting, 131.0, 0, 1, 2) == {"n3"}


def test_a_node_that_was_away_for_a_moment_does_not_prolong_the_time_of_another():
    waiting = Waiting(CONFIG)

    assert lost_at(waiting, 0.0, 0, 1, 2) == set()
    assert lost_at(waiting, 10.0, 0, 1) == set()
    assert lost_at(waiting, 29.0, 0, 1, 2) == set()
    assert lost_at(waiting, 30.0, 0, 1, 2) == {"n3"}


def test_time_in_which_nobody_can_be_seen_does_not_count_for_retired_versions():
    waiting = Waiting(CONFIG)
    retired = held(a_version(1, "t", "v1"), [(0, 1)])
    known = replace(KNOWN, versions={retired.key: retired})
    everybody = present(0, 1, 2, 3)

    for seen, now in ((everybody, 0.0), (everybody, 59.0), (None, 60.0), (None, 1000.0), (everybody, 1001.0)):
        waiting.look(known, seen, now)
        assert waiting.over(known, everybody)[1] == set()

    waiting.look(known, everybody, 1002.0)
    assert waiting.over(known, everybody)[1] == {retired.key}

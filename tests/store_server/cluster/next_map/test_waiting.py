"""How long a node waits for others that are away, seen over time."""

from dataclasses import replace

from support.living_nodes import registration
from support.placements import a_version, held, some_nodes

from engram_store.shard_map import ShardMap, TableSet
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.next_map.waiting import Waiting

CONFIG = ClusterConfig(
    url="etcd://h:1/c", node_id="n0", lease_seconds=10, lost_after_seconds=30, all_lost_after_seconds=600
)
KNOWN = ShardMap(cluster="c", epoch=1, replicas=2, nodes=tuple(some_nodes(4)))


def present(*numbers):
    return {f"n{number}": registration(KNOWN.nodes[number], {}) for number in numbers}


def lost_at(waiting, now, *numbers):
    waiting.look(KNOWN, present(*numbers), (), now)
    return waiting.over(KNOWN, present(*numbers)).nodes


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
        waiting.look(known, seen, (), now)
        assert waiting.over(known, everybody).versions == set()

    waiting.look(known, everybody, (), 1002.0)
    assert waiting.over(known, everybody).versions == {retired.key}


def publishing(*publishers):
    """A map in which each publisher has a version pending in a set of its own."""
    versions = [a_version(1, f"t{number}") for number, _ in enumerate(publishers)]
    sets = {
        version.table: TableSet(name=version.table, current={}, pending={version.table: "v1"}, publisher=publisher)
        for version, publisher in zip(versions, publishers, strict=True)
    }
    return replace(KNOWN, versions={version.key: version for version in versions}, sets=sets)


def lost_publishers(known, *looks):
    """Who is lost after looks of which each is who is seen, of publishers and of nodes, and when."""
    waiting = Waiting(CONFIG)
    for publishers, nodes, now in looks:
        waiting.look(known, present(*nodes), publishers, now)
    return waiting.over(known, present(*nodes)).publishers


ALL = (0, 1, 2, 3)


def test_a_publisher_is_waited_for_as_a_node_is_and_one_without_a_name_is_never_seen():
    known = publishing("p", "q", "r", "")
    others = {"q", "r"}

    assert lost_publishers(known, (others, ALL, 0.0), (others, ALL, 29.0)) == set()
    assert lost_publishers(known, ({"p", *others}, ALL, 0.0), (others, ALL, 30.0)) == {""}
    assert lost_publishers(publishing("p"), ((), ALL, 0.0), ((), ALL, 30.0)) == {"p"}
    assert lost_publishers(publishing("p"), ((), ALL, 0.0), ({"p"}, ALL, 20.0), ((), ALL, 30.0)) == set()


def test_time_in_which_publishers_cannot_be_seen_does_not_count_and_then_none_is_lost():
    known = publishing("p")
    unseen = ((), ALL, 0.0), ((), ALL, 29.0), (None, ALL, 500.0)

    assert lost_publishers(known, *unseen) == set()
    assert lost_publishers(known, ((), ALL, 0.0), ((), ALL, 31.0), (None, ALL, 32.0)) == set()
    assert lost_publishers(known, *unseen, ((), ALL, 501.0)) == set()
    assert lost_publishers(known, *unseen, ((), ALL, 501.0), ((), ALL, 502.0)) == {"p"}


def test_publishers_that_went_away_together_or_with_half_of_the_nodes_are_waited_for_longer():
    both, one = publishing("p", "q"), publishing("p")

    assert lost_publishers(both, ((), ALL, 0.0), ((), ALL, 599.0)) == set()
    assert lost_publishers(both, ((), ALL, 0.0), ((), ALL, 600.0)) == {"p", "q"}
    assert lost_publishers(one, ((), (0, 1), 0.0), ((), (0, 1), 599.0)) == set()
    assert lost_publishers(one, ((), (0, 1), 0.0), ((), (0, 1), 600.0)) == {"p"}
    assert lost_publishers(one, ((), (0, 1, 2), 0.0), ((), (0, 1, 2), 30.0)) == {"p"}


def test_the_last_publisher_of_several_that_were_away_together_is_waited_for_anew():
    both = publishing("p", "q")

    assert lost_publishers(both, ((), ALL, 0.0), ((), ALL, 100.0), ({"q"}, ALL, 101.0), ({"q"}, ALL, 130.0)) == set()

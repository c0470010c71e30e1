"""The map that follows from the known one and from what nodes say."""

from dataclasses import replace

import pytest
from support.living_nodes import SETTINGS, LivingNodes, registration
from support.placements import SHARD_BYTES, a_node, a_version, held, some_nodes

from engram_store.shard_map import Shard, ShardMap, TableSet, VersionKey
from store_server.cluster.next_map.lost_nodes import LossSettings, lost_nodes
from store_server.cluster.next_map.map_steps import first_map, next_map
from store_server.cluster.registration import NodeRegistration

KEY = VersionKey("t", "v1")
NEXT = VersionKey("t", "v2")


def a_map(nodes, *versions, replicas=2, **names) -> ShardMap:
    """A map with one set, whose current version of table t is v1 unless told."""
    table_set = TableSet(name="s", **({"current": {"t": "v1"}} | names))
    sets = {"s": table_set} if versions else {}
    by_key = {each.key: each for each in versions}
    return ShardMap(cluster="c", epoch=7, replicas=replicas, nodes=tuple(nodes), versions=by_key, sets=sets)


def all_held(known):
    """What the nodes say if each holds all that the map names it for as a holder."""
    return [
        registration(
            node,
            {
                key: {number for number, shard in enumerate(version.shards) if place in shard.holders}
                for key, version in known.versions.items()
            },
        )
        for place, node in enumerate(known.nodes)
    ]


def without(registrations, *names):
    return [each for each in registrations if each.node.id not in names]


def two_of_three():
    return a_map(some_nodes(3), held(a_version(3), [(0, 1), (1, 2), (0, 2)]))


def test_nothing_follows_where_all_is_as_it_should_be():
    known = two_of_three()

    assert next_map(known, all_held(known), {}, SETTINGS) == (None, ())


def test_a_live_node_that_the_map_does_not_have_joins_it_and_joins_shards():
    known = a_map(some_nodes(2), held(a_version(12), [(0, 1)] * 12))

    following, _ = next_map(known, [*all_held(known), registration(a_node("n9"), {})], {}, SETTINGS)

    assert [node.id for node in following.nodes] == ["n0", "n1", "n9"]
    assert following.epoch == 8
    moved = [shard for shard in following.versions[KEY].shards if shard.joining]
    assert 7 <= len(moved) <= 9
    assert all(set(shard.holders) == {0, 1} and shard.joining == (2,) for shard in moved)


def test_who_joined_a_shard_and_has_it_holds_it_and_only_then_the_one_too_many_leaves():
    shards = (
        Shard(end_row=10, holders=(1, 0), joining=(2,)),
        Shard(end_row=20, holders=(1, 2)),
        Shard(end_row=30, holders=(0, 2)),
    )
    known = a_map(some_nodes(3), replace(a_version(3), shards=shards))
    said = all_held(known)

    assert next_map(known, said, {}, SETTINGS).shard_map is None

    said[2] = registration(known.nodes[2], {KEY: {0, 1, 2}})
    following, _ = next_map(known, said, {}, SETTINGS)

    assert following.versions[KEY].shards[0] == Shard(end_row=10, holders=(1, 2))


def test_a_holder_without_the_shard_joins_it_again():
    known = two_of_three()
    said = all_held(known)
    said[1] = registration(known.nodes[1], {KEY: {1}})

    following, _ = next_map(known, said, {}, SETTINGS)

    assert following.versions[KEY].shards[0] == Shard(end_row=10, holders=(0,), joining=(1,))


def test_half_of_the_blocks_of_a_shard_are_not_the_shard():
    version = replace(a_version(4), shards=(Shard(end_row=20, holders=(0, 1)), Shard(end_row=40, holders=(0, 1))))
    known = a_map(some_nodes(2), version)
    said = [
        NodeRegistration(node=known.nodes[0], incarnation="1", held={KEY: ((0, 4),)}),
        NodeRegistration(node=known.nodes[1], incarnation="1", held={KEY: ((1, 4),)}),
    ]

    following, _ = next_map(known, said, {}, SETTINGS)

    assert [(shard.holders, shard.joining) for shard in following.versions[KEY].shards] == [((0,), (1,)), ((0, 1), ())]


def test_the_last_holder_of_a_current_shard_stays_named_and_somebody_is_told():
    known = two_of_three()
    said = [registration(node, {KEY: {1, 2}}) for node in known.nodes]

    following, complaints = next_map(known, said, {}, SETTINGS)

    assert following.versions[KEY].shards[0] == Shard(end_row=10, holders=(0,), joining=(1,))
    assert len(complaints) == 1
    assert "nobody holds 1 shards of version 'v1' of table 't' any more; the first is shard 0" in complaints[0]


def test_a_node_away_for_a_moment_changes_nothing_and_a_lost_one_gives_its_shards_away():
    known = two_of_three()
    said = without(all_held(known), "n1")

    assert next_map(known, said, {"n1": 29.9}, SETTINGS).shard_map is None
    assert next_map(known, said, {}, SETTINGS).shard_map is None

    following, _ = next_map(known, said, {"n1": 30.0}, SETTINGS)

    assert [shard.joining for shard in following.versions[KEY].shards] == [(2,), (0,), ()]
    assert all(
        set(before.holders) == set(after.holders)
        for before, after in zip(known.versions[KEY].shards, following.versions[KEY].shards, strict=True)
    )


def test_a_lost_node_leaves_the_map_when_others_hold_its_shards_and_the_places_of_others_are_put_right():
    known = two_of_three()
    said = [registration(node, {KEY: {0, 1, 2}}) for node in known.nodes if node.id != "n0"]
    lost = {"n0": 100.0}

    before_last, _ = next_map(known, said, lost, SETTINGS)

    assert [node.id for node in before_last.nodes] == ["n1", "n2"]
    assert [set(shard.holders) for shard in before_last.versions[KEY].shards] == [{0, 1}] * 3
    assert next_map(before_last, said, lost, SETTINGS).shard_map is None


def test_lost_nodes_stay_in_the_map_where_the_replicas_need_as_many():
    known = a_map(some_nodes(2), held(a_version(1), [(0, 1)]))
    said = without(all_held(known), "n1")

    following, _ = next_map(known, said, {"n1": 700.0}, SETTINGS)

    assert len(following.nodes) == 2
    assert following.versions[KEY].shards[0].holders == (0,)


def test_when_half_of_the_nodes_go_together_nothing_moves_before_the_longer_time():
    nodes = some_nodes(4)
    together = {"n0": 599.0, "n1": 590.0}

    assert lost_nodes(nodes, {"n2", "n3"}, together, SETTINGS) == set()
    assert lost_nodes(nodes, {"n2", "n3"}, {"n0": 600.0, "n1": 590.0}, SETTINGS) == {"n0"}
    assert lost_nodes(nodes, {"n2", "n3"}, {"n0": 599.0, "n1": 40.0}, SETTINGS) == {"n0", "n1"}
    assert lost_nodes(nodes, {"n1", "n2", "n3"}, {"n0": 30.0}, SETTINGS) == {"n0"}
    assert lost_nodes(some_nodes(2), {"n1"}, {"n0": 30.0}, SETTINGS) == {"n0"}


def test_times_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="got 30 and 20"):
        LossSettings(lost_after_seconds=30, all_lost_after_seconds=20)


def publishing(holders_of_second):
    """Two tables of which new versions are pending, all held but for the second one's."""
    nodes = some_nodes(2)
    versions = [held(a_version(1, table, version), [(0, 1)]) for table in "tu" for version in ("v1", "v2")]
    versions[3] = held(versions[3], [holders_of_second])
    names = {name: dict.fromkeys("tu", version) for name, version in (("current", "v1"), ("pending", "v2"))}
    return a_map(nodes, *versions, **names)


def test_the_versions_of_a_set_are_complete_together_and_not_before_all_are_held():
    known = publishing((0,))

    following, _ = next_map(known, all_held(known), {}, SETTINGS)

    assert following.sets == known.sets
    assert following.versions[VersionKey("u", "v2")].shards[0].joining == (1,)

    complete = publishing((0, 1))
    following, _ = next_map(complete, all_held(complete), {}, SETTINGS)

    assert following.sets["s"] == replace(complete.sets["s"], pending_complete=True)


def test_versions_that_a_node_has_lost_again_are_complete_no_more():
    known = publishing((0, 1))
    known = replace(known, sets={"s": replace(known.sets["s"], pending_complete=True)})
    said = all_held(known)
    assert next_map(known, said, {}, SETTINGS).shard_map is None

    said[1] = replace(said[1], held={key: ranges for key, ranges in said[1].held.items() if key != ("u", "v2")})
    following, _ = next_map(known, said, {}, SETTINGS)

    assert following.versions[VersionKey("u", "v2")].shards[0] == Shard(end_row=10, holders=(0,), joining=(1,))
    assert not following.sets["s"].pending_complete
    assert following.sets["s"].pending == known.sets["s"].pending


def test_a_new_version_with_fewer_live_nodes_than_replicas_is_complete_with_those():
    known = publishing((0,))

    following, _ = next_map(known, without(all_held(known), "n1"), {"n1": 29.0}, SETTINGS)
    assert following is None

    following, _ = next_map(known, without(all_held(known), "n1"), {"n1": 31.0}, SETTINGS)
    assert following.sets["s"].pending_complete


@pytest.mark.parametrize("holders", [(0, 1), (0,)])
def test_what_a_lost_publisher_has_pending_is_so_no_more_and_is_retired_or_gone(holders):
    known = publishing(holders)
    known = replace(known, sets={"s": replace(known.sets["s"], publisher="p", pending_complete=len(holders) == 2)})

    step = next_map(known, all_held(known), {}, SETTINGS, publishers_lost={"p"})

    assert step.shard_map.sets["s"] == TableSet(name="s", current=known.sets["s"].current)
    assert step.shard_map.versions.keys() == known.versions.keys()
    assert next_map(known, all_held(known), {}, SETTINGS, publishers_lost={"q", ""}).shard_map != step.shard_map


def test_a_pending_version_that_does_not_fit_waits_and_is_named():
    nodes = [a_node(f"n{i}", 4 * SHARD_BYTES) for i in range(2)]
    known = a_map(nodes, held(a_version(3), [(0, 1)] * 3), a_version(2, version="v2"), pending={"t": "v2"})

    following, complaints = next_map(known, all_held(known), {}, SETTINGS)

    assert following.versions[KEY] == known.versions[KEY]
    assert following.sets == known.sets
    assert "200 bytes of rows have no place: 2 copies of all versions need 1000 bytes" in complaints[0]


def test_of_two_nodes_with_one_id_the_one_in_the_map_stays():
    known = two_of_three()
    second = NodeRegistration(node=replace(known.nodes[1], address="a-stranger:1"), incarnation="2")

    following, complaints = next_map(known, [second, *all_held(known)], {}, SETTINGS)

    assert following is None
    assert complaints == (
        "two nodes have the id 'n1': the one at n1:1 counts, the one at a-stranger:1 does not; give it another id",
    )


def test_a_node_that_comes_back_elsewhere_is_found_there():
    known = two_of_three()
    said = all_held(known)
    said[1] = replace(said[1], node=replace(known.nodes[1], address="n1:2"))

    following, complaints = next_map(known, said, {}, SETTINGS)

    assert following.nodes[1].address == "n1:2"
    assert following.versions == known.versions
    assert not complaints


def test_two_nodes_that_changed_addresses_with_each_other_are_both_found():
    known = two_of_three()
    said = all_held(known)
    said[0], said[1] = (replace(said[i], node=replace(known.nodes[i], address=f"n{1 - i}:1")) for i in (0, 1))

    following, _ = next_map(known, said, {}, SETTINGS)

    assert [node.address for node in following.nodes] == ["n1:1", "n0:1", "n2:1"]


@pytest.mark.parametrize("name", ["n0", "n9"])
def test_an_address_that_another_node_has_is_not_taken_over(name):
    known = two_of_three()
    said = [*without(all_held(known), name), registration(replace(a_node(name), address="n1:1"), {KEY: {0, 2}})]

    following, complaints = next_map(known, said, {}, SETTINGS)

    assert following is None
    assert f"node {name!r} registers at n1:1, which is the address of another node of the map" in complaints[0]


def test_an_address_that_its_node_must_keep_is_not_taken_over_either():
    known = two_of_three()
    said = without(all_held(known), "n1")
    said = [replace(each, node=replace(each.node, address={"n0": "n1:1", "n2": "n0:1"}[each.node.id])) for each in said]

    following, complaints = next_map(known, said, {}, SETTINGS)

    assert following is None
    assert len(complaints) == 2


def test_a_node_without_address_is_named_and_left_out():
    known = two_of_three()

    following, complaints = next_map(
        known, [*all_held(known), registration(replace(a_node("x"), address=""), {})], {}, SETTINGS
    )

    assert following is None
    assert "a node without id or address registers: id 'x', address ''" in complaints


def test_labels_and_capacity_follow_what_a_node_says_of_itself_and_not_whether_it_leaves():
    known = two_of_three()
    said = all_held(known)
    said[2] = replace(said[2], node=replace(known.nodes[2], labels={"zone": "z"}, capacity_bytes=5000, draining=True))

    following, _ = next_map(known, said, {}, SETTINGS)

    assert following.nodes[2] == replace(said[2].node, draining=False)


def test_a_node_that_the_map_has_leaving_gives_its_shards_away_whatever_it_says_itself():
    known = two_of_three()
    leaving = replace(known.nodes[2], draining=True)
    said, known = all_held(known), replace(known, nodes=(*known.nodes[:2], leaving))

    following, _ = next_map(known, said, {}, SETTINGS)

    assert following.nodes[2] == leaving
    assert all(2 not in shard.joining for shard in following.versions[KEY].shards)
    assert following.versions[KEY].shards[1] == Shard(end_row=20, holders=(1, 2), joining=(0,))


def test_a_leaving_node_keeps_shards_while_another_that_is_to_hold_them_is_away():
    nodes = [*some_nodes(2), replace(a_node("n2"), draining=True)]
    known = a_map(nodes, held(a_version(1), [(0, 1, 2)]))

    meanwhile, _ = next_map(known, without(all_held(known), "n0"), {"n0": 1.0}, SETTINGS)
    together, _ = next_map(known, all_held(known), {}, SETTINGS)

    assert meanwhile is None
    assert together.versions[KEY].shards[0].holders == (0, 1)


def test_a_leaving_node_is_in_the_map_until_it_has_given_all_away_and_stopped_and_returns_as_a_new_one():
    cluster = LivingNodes()
    cluster.shard_map = two_of_three()
    for node in cluster.shard_map.nodes:
        cluster.join(node)
        cluster.fetch(node.id)
    cluster.drain("n2")
    cluster.die("n2")
    cluster.step()
    assert "n2" in {node.id for node in cluster.shard_map.nodes}  # it is needed still
    cluster.come_back("n2")
    cluster.settle(5)
    assert [node.id for node in cluster.shard_map.nodes] == ["n0", "n1", "n2"]
    assert not any(cluster.named()["n2"].values())

    cluster.die("n2")
    cluster.settle(5)
    assert [node.id for node in cluster.shard_map.nodes] == ["n0", "n1"]

    cluster.come_back("n2")
    cluster.settle(5)
    assert cluster.shard_map.nodes[2] == a_node("n2")


def test_the_first_map_waits_for_as_many_nodes_as_replicas():
    said = [registration(node, {}) for node in some_nodes(3)]

    assert first_map("c", 4, said).shard_map is None
    assert "4 replicas need as many nodes, and 3 are there" in first_map("c", 4, said).complaints[0]
    first = first_map("c", 3, reversed(said)).shard_map
    assert (first.cluster, first.epoch, first.replicas) == ("c", 1, 3)
    assert [node.id for node in first.nodes] == ["n0", "n1", "n2"]
    with pytest.raises(ValueError, match="replicas must be at least 1, got 0"):
        first_map("c", 0, said)


def test_a_live_node_stays_in_the_map_though_it_holds_nothing():
    known = a_map(some_nodes(3))

    assert next_map(known, all_held(known), {}, SETTINGS).shard_map is None


def test_a_version_that_is_current_and_previous_too_counts_as_current():
    known = a_map(some_nodes(2), held(a_version(1), [(0,)]), replicas=1, previous={"t": "v1"})

    following, complaints = next_map(known, [registration(node, {}) for node in known.nodes], {}, SETTINGS)

    assert following is None
    assert len(complaints) == 1


def test_current_versions_find_room_before_pending_ones():
    nodes = [a_node(f"n{i}", 3 * SHARD_BYTES) for i in range(2)]
    known = a_map(nodes, held(a_version(3), [(0,)] * 3), a_version(3, "a"), pending={"a": "v1"})

    following, _ = next_map(known, all_held(known), {}, SETTINGS)

    assert all(shard.joining == (1,) for shard in following.versions[KEY].shards)


def test_who_has_a_shard_already_is_chosen_for_it():
    known = a_map(some_nodes(3), held(a_version(1), [(0,)]))
    said = [*without(all_held(known), "n2"), registration(known.nodes[2], {KEY: {0}})]

    following, _ = next_map(known, said, {}, SETTINGS)

    assert following.versions[KEY].shards == (Shard(end_row=10, holders=(0, 2)),)


def test_a_pending_version_that_is_cut_like_the_current_one_goes_to_the_nodes_that_hold_that():
    holders = [*[(0, 1), (2, 3)] * 4, *[(1, 3), (0, 2)] * 4, *[(0, 3), (1, 2)] * 4]
    known = a_map(
        some_nodes(4),
        held(a_version(24), holders),
        a_version(24, version="v2"),
        current={"t": "v1"},
        pending={"t": "v2"},
    )

    following, _ = next_map(known, all_held(known), {}, SETTINGS)

    assert [shard.joining for shard in following.versions[NEXT].shards] == holders


def beside_a_disk_that_takes_nothing():
    """A version that three nodes are fetching when the disk of the first is full, with the one before it."""
    nodes = [a_node("n0", 2 * SHARD_BYTES), *some_nodes(3)[1:]]  # the room that it says it has is what it holds
    holders = [(0, 1), (1, 2), (0, 2)]
    pending = a_version(3, version="v2")
    joined = tuple(replace(shard, joining=by) for shard, by in zip(pending.shards, holders, strict=True))
    return a_map(nodes, held(a_version(3), holders), replace(pending, shards=joined), pending={"t": "v2"})


def test_a_node_whose_disk_takes_nothing_keeps_what_it_holds_and_nobody_waits_for_it_to_get_more():
    known = beside_a_disk_that_takes_nothing()
    first, *others = all_held(known)

    following, _ = next_map(known, [replace(first, disk_failure="disk full"), *others], {}, SETTINGS)

    assert [shard.joining for shard in following.versions[NEXT].shards] == [(1, 2)] * 3
    assert following.versions[KEY] == known.versions[KEY]


def test_a_shard_that_came_whole_before_the_disk_took_nothing_any_more_counts():
    known = beside_a_disk_that_takes_nothing()
    first, *others = all_held(known)
    first = replace(first, held={**first.held, NEXT: ((2, 3),)}, disk_failure="disk full")

    following, _ = next_map(known, [first, *others], {}, SETTINGS)

    shards = following.versions[NEXT].shards
    assert [shard.joining for shard in shards] == [(1, 2), (1, 2), (2,)]
    assert shards[2].holders == (0,)

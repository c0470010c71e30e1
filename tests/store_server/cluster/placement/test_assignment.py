"""Which node is to hold which shard: spread, balanced, within memory, the same for all who ask."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.placements import SHARD_BYTES, a_node, a_version, bytes_of, held, some_nodes

from store_server.cluster.placement.assignment import assign
from store_server.cluster.placement.placing import Placing

LABELS = st.sampled_from([{}, {"zone": "a"}, {"zone": "b"}, {"zone": "a", "rack": "1"}, {"zone": "b", "rack": "1"}])
NODES = st.lists(LABELS, min_size=1, max_size=9).map(
    lambda all_: [a_node(f"n{i}", **each) for i, each in enumerate(all_)]
)


def domains(node, labels):
    """The literal rule: without a label a node is alone, and a rack is one in its zone."""
    return tuple(node.labels.get(label, node.id) for label in labels)


@settings(max_examples=30)
@given(NODES, st.integers(1, 4), st.integers(1, 30))
def test_every_shard_has_as_many_nodes_as_replicas_or_as_there_are_and_in_as_many_domains_as_can_be(
    nodes, replicas, shards
):
    targets, shortage = assign(nodes, [a_version(shards)], replicas)

    assert not shortage
    for chosen in targets[("t", "v1")]:
        assert len(set(chosen)) == len(chosen) == min(replicas, len(nodes))
        zones = {domains(node, ["zone"]) for node in nodes}
        assert len({domains(nodes[place], ["zone"]) for place in chosen}) == min(replicas, len(zones))


def test_where_zones_do_not_suffice_copies_in_one_zone_are_in_different_racks():
    nodes = [a_node(f"{zone}{rack}{i}", zone=zone, rack=rack) for zone in "ab" for rack in "xy" for i in range(3)]

    targets, _ = assign(nodes, [a_version(40)], 4)

    for chosen in targets[("t", "v1")]:
        assert sorted((nodes[place].labels["zone"], nodes[place].labels["rack"]) for place in chosen) == [
            ("a", "x"),
            ("a", "y"),
            ("b", "x"),
            ("b", "y"),
        ]


def test_shards_come_apart_when_a_second_zone_joins():
    nodes = [a_node("a1", zone="a"), a_node("a2", zone="a")]
    version = held(a_version(10), [(0, 1)] * 10)

    targets, _ = assign([*nodes, a_node("b1", zone="b")], [version], 2)

    assert all(2 in chosen for chosen in targets[version.key])


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 3), st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_nodes_alike_hold_the_same_but_for_a_shard(num_nodes, replicas, shards):
    versions = [a_version(number, table=f"t{i}") for i, number in enumerate(shards)]

    targets, _ = assign(some_nodes(num_nodes), versions, replicas)

    load = bytes_of(versions, targets, num_nodes)
    assert max(load) - min(load) <= SHARD_BYTES


def test_nodes_hold_in_proportion_to_what_they_can_hold_and_one_that_does_not_say_holds_like_the_average():
    nodes = [a_node("small", 10_000), a_node("large", 30_000), a_node("silent"), a_node("also small", 10_000)]
    version = a_version(120)

    targets, shortage = assign(nodes, [version], 2)

    assert not shortage
    capacities = [10_000, 30_000, 50_000 // 3, 10_000]
    for load, capacity in zip(bytes_of([version], targets, 4), capacities, strict=True):
        assert abs(load - 2 * 120 * SHARD_BYTES * capacity / sum(capacities)) <= SHARD_BYTES


def test_the_little_room_of_a_node_whose_disk_takes_no_more_is_no_measure_for_those_that_do_not_say():
    nodes = [a_node("failing", 20 * SHARD_BYTES), a_node("b"), a_node("c")]
    current = held(a_version(30), [(0, 1)] * 10 + [(1, 2)] * 10 + [(2, 0)] * 10)
    coming = a_version(30, version="v2")

    targets, shortage = assign(nodes, [current, coming], 2)

    assert not shortage
    assert all(len(chosen) == 2 for each in (current, coming) for chosen in targets[each.key])
    failing, *others = bytes_of([current, coming], targets, 3)
    assert failing <= 20 * SHARD_BYTES
    assert abs(others[0] - others[1]) <= 2 * SHARD_BYTES
    # Its rows are read still: there is no haste to copy them away from it.
    assert failing >= 18 * SHARD_BYTES


def test_what_has_no_place_with_nodes_that_all_say_how_much_they_hold_has_none():
    nodes = [a_node(f"n{i}", 10 * SHARD_BYTES) for i in range(3)]

    _, shortage = assign(nodes, [a_version(31)], 1)

    assert "bytes of rows have no place" in shortage


def test_a_node_with_room_for_everything_holds_one_copy_and_the_others_share_the_second():
    nodes = [a_node("huge", 1_000_000), *(a_node(f"n{i}", 10_000) for i in range(3))]
    version = a_version(60)

    targets, _ = assign(nodes, [version], 2)

    assert bytes_of([version], targets, 4) == [60 * SHARD_BYTES, *[20 * SHARD_BYTES] * 3]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=8), st.integers(1, 3), st.integers(1, 25))
def test_no_node_gets_more_than_it_can_hold_and_what_has_no_room_is_named(shards_each, replicas, num_shards):
    nodes = [a_node(f"n{i}", room * SHARD_BYTES + 7) for i, room in enumerate(shards_each)]
    version = a_version(num_shards)

    targets, shortage = assign(nodes, [version], replicas)

    load = bytes_of([version], targets, len(nodes))
    assert all(used <= node.capacity_bytes for used, node in zip(load, nodes, strict=True))
    copies = min(replicas, len(nodes))
    missing = copies * num_shards * SHARD_BYTES - sum(load)
    # Every shard may have each node once: this is what can be placed at all, counted node by node.
    assert missing == max(0, copies * num_shards - sum(min(room, num_shards) for room in shards_each)) * SHARD_BYTES
    assert bool(shortage) == (missing > 0)
    if missing:
        assert f"{missing} bytes of rows have no place: {copies} copies of all versions need" in shortage
        assert f"can hold {sum(node.capacity_bytes for node in nodes)}" in shortage


def test_a_node_that_joins_with_too_little_memory_gets_only_what_fits():
    nodes = [a_node(f"n{i}", 100 * SHARD_BYTES) for i in range(3)]
    version = held(a_version(60), [((i % 3), (i + 1) % 3) for i in range(60)])

    targets, shortage = assign([*nodes, a_node("tiny", 2 * SHARD_BYTES + 1, zone="elsewhere")], [version], 3)

    assert not shortage
    assert sum(3 in chosen for chosen in targets[version.key]) <= 2


def test_a_zone_without_room_does_not_keep_copies_from_being_made():
    nodes = [a_node(f"{zone}{i}", 200 * SHARD_BYTES, zone=zone) for zone in "ab" for i in range(2)]

    targets, shortage = assign([*nodes, a_node("c", 5 * SHARD_BYTES, zone="c")], [a_version(60)], 3)

    assert not shortage
    assert [sum(4 in chosen for chosen in targets[("t", "v1")])] == [5]
    assert all(
        {nodes[place].labels["zone"] for place in chosen if place < 4} == {"a", "b"} for chosen in targets[("t", "v1")]
    )


def test_a_node_whose_memory_shrank_gives_away_what_it_cannot_hold():
    nodes = [a_node(f"n{i}", 100 * SHARD_BYTES) for i in range(3)]
    version = held(a_version(30), [(0, 1)] * 30)
    nodes[0] = a_node("n0", 4 * SHARD_BYTES)

    targets, shortage = assign(nodes, [version], 2)

    assert not shortage
    assert sum(0 in chosen for chosen in targets[version.key]) <= 4


def test_a_node_that_says_that_it_can_hold_no_more_than_it_has_keeps_that_and_does_not_get_the_rest():
    nodes = [a_node(f"n{place}", shards * SHARD_BYTES) for place, shards in enumerate((3, 5, 5))]
    before = held(a_version(6), [(0, 1), (0, 1), (0, 2), (1,), (2,), (2,)])
    shards = [*before.shards[:3], *(replace(shard, joining=(0,)) for shard in before.shards[3:])]

    targets, shortage = assign(nodes, [replace(before, shards=tuple(shards))], 2)

    assert not shortage
    assert [0 in chosen for chosen in targets[before.key]] == [True] * 3 + [False] * 3


def test_what_comes_first_finds_room_first():
    nodes = [a_node(f"n{i}", 5 * SHARD_BYTES) for i in range(2)]
    first, second = a_version(4, "first"), a_version(4, "second")

    targets, shortage = assign(nodes, [first, second], 2)

    assert "600 bytes of rows have no place" in shortage
    assert all(len(chosen) == 2 for chosen in targets[first.key])


@pytest.mark.parametrize("how", ["draining", "lost"])
def test_nodes_that_drain_or_are_lost_give_everything_away(how):
    nodes = some_nodes(4)
    version = held(a_version(12), assign(nodes, [a_version(12)], 2).targets[("t", "v1")])
    if how == "draining":
        nodes[1] = replace(nodes[1], draining=True)

    targets, _ = assign(nodes, [version], 2, lost={"n1"} if how == "lost" else ())

    assert all(len(chosen) == 2 and 1 not in chosen for chosen in targets[version.key])


def test_a_node_that_is_away_keeps_its_shards_and_gets_no_others():
    nodes = some_nodes(4)
    version = held(a_version(12), assign(nodes, [a_version(12)], 2).targets[("t", "v1")])
    fresh = a_version(12, version="v2")

    targets, _ = assign(nodes, [version, fresh], 2, away={"n1"})

    assert all(
        (1 in chosen) == (1 in shard.holders)
        for chosen, shard in zip(targets[version.key], version.shards, strict=True)
    )
    assert not any(1 in chosen for chosen in targets[fresh.key])


def test_a_shard_goes_to_the_node_that_has_it_already():
    version = held(a_version(8), [(0,)] * 8)

    targets, _ = assign(some_nodes(3), [version], 2, found_at={version.key: {3: [1], 4: [1], 5: [2]}})

    assert [targets[version.key][shard] for shard in (3, 4, 5)] == [(0, 1), (0, 1), (0, 2)]


def test_who_joins_a_shard_stays_chosen_while_the_holder_it_replaces_is_still_there():
    moves, stays = a_version(2).shards
    shards = (replace(moves, holders=(0, 1), joining=(2,)), replace(stays, holders=(0, 1)))
    version = replace(a_version(2), shards=shards)

    targets, _ = assign(some_nodes(3), [version], 2)

    assert targets[version.key] == ((0, 2), (0, 1))


@settings(max_examples=30)
@given(NODES, st.integers(1, 3), st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_order_of_the_nodes_makes_no_difference(nodes, replicas, num_shards, random):
    before = {shard: random.sample(range(len(nodes)), min(replicas, len(nodes))) for shard in range(num_shards)}
    shuffled = random.sample(range(len(nodes)), len(nodes))
    version = held(a_version(num_shards), [tuple(before[i]) for i in range(num_shards)])
    renamed = held(a_version(num_shards), [tuple(shuffled.index(n) for n in before[i]) for i in range(num_shards)])

    targets, _ = assign(nodes, [version], replicas, lost={"n0"})
    others, _ = assign([nodes[place] for place in shuffled], [renamed], replicas, lost={"n0"})

    assert [set(chosen) for chosen in targets[version.key]] == [
        {shuffled[place] for place in chosen} for chosen in others[version.key]
    ]


@settings(max_examples=30)
@given(NODES, st.integers(1, 3), st.integers(1, 20), st.randoms(use_true_random=False))
def test_what_is_held_as_it_should_be_stays(nodes, replicas, num_shards, random):
    version = held(a_version(num_shards), [(random.randrange(len(nodes)),) for _ in range(num_shards)])
    version = held(version, assign(nodes, [version], replicas).targets[version.key])

    again, _ = assign(nodes, [version], replicas)

    assert again[version.key] == tuple(shard.holders for shard in version.shards)


def test_the_shards_of_a_node_are_shared_with_nearly_all_others():
    targets, _ = assign(some_nodes(12), [a_version(96)], 2)

    for node in range(12):
        partners = {other for chosen in targets[("t", "v1")] if node in chosen for other in chosen} - {node}
        assert len(partners) >= 10


def test_each_table_is_spread_over_all_nodes_and_not_only_their_sum():
    versions = [a_version(24, table=f"t{i}") for i in range(4)]

    targets, _ = assign(some_nodes(6), versions, 2)

    for version in versions:
        load = bytes_of([version], targets, 6)
        assert max(load) - min(load) <= SHARD_BYTES


def test_a_shard_goes_where_fewest_of_its_table_are_if_nodes_are_equally_full():
    other, table = held(a_version(2, "a"), [(1,), (1,)]), held(a_version(3, "b"), [(0,), (0,), ()])

    targets, _ = assign(some_nodes(2), [other, table], 1)

    assert targets[table.key] == ((0,), (0,), (1,))


def test_a_full_node_is_spared_although_the_one_with_room_is_away():
    nodes = [a_node("n0", 100 * SHARD_BYTES), a_node("n1", 100 * SHARD_BYTES), a_node("n2", 5 * SHARD_BYTES)]
    version = held(a_version(40), [(2,)] * 5 + [(0,)] * 35)

    targets, _ = assign(nodes, [version], 1, away={"n1"})

    assert targets[version.key] == tuple(shard.holders for shard in version.shards)


def test_sizes_beyond_all_memory_are_counted_too():
    version = a_version(6, row_bytes=1 << 60)

    targets, shortage = assign(some_nodes(3), [version], 2)

    assert not shortage
    assert [sum(node in chosen for chosen in targets[version.key]) for node in range(3)] == [4, 4, 4]


def test_without_a_node_that_may_hold_shards_nobody_is_chosen():
    assert assign([a_node("n0", draining=True)], [a_version(1)], 2).targets == {("t", "v1"): ((),)}
    assert assign([], [], 1).targets == {}


def test_memory_is_a_limit_though_a_node_is_within_a_shard_of_its_share():
    version = held(a_version(12), [(0,)] * 5 + [(1,)] * 4 + [(2,)] * 3)

    targets, shortage = assign([a_node(f"n{i}", 4 * SHARD_BYTES) for i in range(3)], [version], 1)

    assert not shortage
    assert bytes_of([version], targets, 3) == [4 * SHARD_BYTES] * 3


def test_of_two_shards_alike_the_one_moves_that_was_only_just_chosen():
    placing = Placing(
        shard_bytes=[10, 10],
        version_of_shard=[0, 1],
        capacities=[100, 100],
        domains=[("a",), ("b",)],
        copies=1,
        may_receive=[True, True],
        found_at=[(), ()],
    )
    placing.begin_with(np.array([[0], [placing.nobody]]))
    placing.add(1, 0)

    assert placing.shard_to_move(0, 1, less_than=20) == 1

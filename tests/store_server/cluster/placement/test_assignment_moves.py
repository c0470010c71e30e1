"""When nodes join, leave or drain, few bytes move: at most 1.5 times the least possible."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from math import ceil

from hypothesis import given
from hypothesis import strategies as st
from support.placements import SHARD_BYTES, a_node, a_version, bytes_moved, bytes_of, held, some_nodes

from store_server.cluster.placement.assignment import assign


def least_moved(version, nodes, leaving, replicas):
    """The bound that `assign` states, shard by shard: what must be given and what must be taken. In bytes."""
    load = [sum(node in shard.holders for shard in version.shards) for node in range(len(nodes))]
    stay = [node for node in range(len(nodes)) if node not in leaving]
    copies = min(replicas, len(stay))
    share = Fraction(copies * len(version.shards), len(stay))
    gone = sum(max(0, copies - sum(node not in leaving for node in shard.holders)) for shard in version.shards)
    given_away = sum(max(0, ceil(load[node] - share - 1)) for node in stay)
    taken = sum(max(0, ceil(share - 1 - load[node])) for node in stay)
    return max(gone + given_away, taken) * SHARD_BYTES


@given(st.integers(2, 10), st.integers(1, 3), st.integers(1, 60), st.data())
def test_joins_losses_and_drains_move_at_most_one_and_a_half_times_the_least_possible(
    num_nodes, replicas, shards, data
):
    nodes = some_nodes(num_nodes)
    version = held(a_version(shards), assign(nodes, [a_version(shards)], replicas).targets[("t", "v1")])

    for step in range(4):
        lost = data.draw(st.sets(st.integers(0, len(nodes) - 1), max_size=min(2, len(nodes) - 1)))
        joins = data.draw(st.integers(0, 3))
        drains = next(iter(lost), None) if data.draw(st.booleans()) else None
        nodes = [replace(node, draining=place == drains) for place, node in enumerate(nodes)]
        nodes = [*nodes, *(a_node(f"m{step}{i}") for i in range(joins))]
        targets, _ = assign(nodes, [version], replicas, lost={nodes[place].id for place in lost if place != drains})

        stay = [place for place in range(len(nodes)) if place not in lost]
        load = [bytes_of([version], targets, len(nodes))[place] for place in stay]
        fair = Fraction(sum(load), len(load))
        assert all(abs(each - fair) <= SHARD_BYTES for each in load)
        assert bytes_moved([version], targets) <= 1.5 * least_moved(version, nodes, lost, replicas)
        version = held(version, targets[version.key])
        nodes = [replace(node, draining=False) for node in nodes]


def test_nodes_that_join_together_take_different_shards_so_that_few_move_when_one_of_them_goes():
    nodes = some_nodes(2)
    version = held(a_version(4), [(0, 1)] * 4)

    joined, _ = assign([*nodes, a_node("m0"), a_node("m1")], [version], 2)

    assert all(len({0, 1}.intersection(chosen)) >= 1 for chosen in joined[version.key])


def by_trying_all(version, nodes, leaving, replicas):
    """The least bytes moved of all assignments with every load within a shard of the average: tries every one."""
    stay = [node for node in range(len(nodes)) if node not in leaving]
    copies = min(replicas, len(stay))
    fair = Fraction(copies * len(version.shards), len(stay))
    least = None
    for chosen in product(combinations(stay, copies), repeat=len(version.shards)):
        load = [sum(node in each for each in chosen) for node in stay]
        if all(abs(each - fair) <= 1 for each in load):
            moved = sum(len(set(each) - set(shard.holders)) for each, shard in zip(chosen, version.shards, strict=True))
            least = moved if least is None else min(least, moved)
    return least * SHARD_BYTES


@given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 4), st.data())
def test_of_small_clusters_no_assignment_moves_much_less(num_nodes, replicas, shards, data):
    nodes = some_nodes(num_nodes)
    holders = st.sets(st.integers(0, num_nodes - 1), min_size=1, max_size=min(replicas, num_nodes))
    version = held(a_version(shards), [tuple(data.draw(holders)) for _ in range(shards)])
    leaving = data.draw(st.sets(st.integers(0, num_nodes - 1), max_size=num_nodes - 1))

    targets, _ = assign(nodes, [version], replicas, lost={nodes[place].id for place in leaving})

    least = by_trying_all(version, nodes, leaving, replicas)
    assert bytes_moved([version], targets) <= 1.5 * least
    assert least >= least_moved(version, nodes, leaving, replicas)


def test_a_node_that_joins_takes_its_share_and_nothing_else_moves():
    nodes = some_nodes(4)
    version = held(a_version(64), assign(nodes, [a_version(64)], 2).targets[("t", "v1")])

    targets, _ = assign([*nodes, a_node("new")], [version], 2)

    new = sum(4 in chosen for chosen in targets[version.key])
    assert bytes_moved([version], targets) == new * SHARD_BYTES
    assert 24 <= new <= 26  # 128 / 5


def test_nodes_that_come_in_a_zone_of_their_own_are_filled_by_few_moves_too():
    nodes = [a_node(f"{zone}{i}", zone=zone) for zone in "abc" for i in range(3)]
    version = held(a_version(90), assign(nodes, [a_version(90)], 2).targets[("t", "v1")])

    targets, _ = assign([*nodes, *(a_node(f"d{i}", zone="d") for i in range(3))], [version], 2)

    assert all(
        nodes[place].labels["zone"] != nodes[other].labels["zone"]
        for place, other in targets[version.key]
        if place < 9 and other < 9
    )
    assert bytes_moved([version], targets) <= 1.5 * 3 * 15 * SHARD_BYTES  # 180 / 12 each


def test_a_shard_of_a_lost_node_goes_to_a_node_that_would_take_another_one_otherwise():
    capacities = (921, 657, 651, 714, 911, 1012, 790, 711, 1186)
    nodes = [a_node(f"n{i}", capacity) for i, capacity in enumerate(capacities)]
    versions = [held(a_version(1, table), [pair]) for table, pair in (("t", (0, 1)), ("u", (2, 3)), ("v", (4, 5)))]

    targets, _ = assign(nodes, versions, 2, lost={"n0"})

    assert targets[versions[0].key] == ((1, 8),)
    assert bytes_moved(versions, targets) == SHARD_BYTES

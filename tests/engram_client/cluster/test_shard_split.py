"""Rows are divided among nodes: none is lost, none is sent to a node that does not hold it, places lead back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_client.cluster.shard_split import ShardLayout
from engram_store.shard_map import Shard, ShardedVersion


def version_of(ends, holders):
    return ShardedVersion(
        table="t",
        version="v",
        num_rows=ends[-1],
        row_bytes=8,
        block_rows=1,
        shards=tuple(Shard(end_row=end, holders=nodes) for end, nodes in zip(ends, holders, strict=True)),
    )


def first_holders(layout):
    return lambda rows_of_group: {group: layout.holders[group][0] for group in rows_of_group}


@st.composite
def layouts(draw):
    sizes = draw(st.lists(st.integers(1, 50), min_size=1, max_size=12))
    if draw(st.booleans()):  # shards of one size are found in another way
        sizes = [sizes[0]] * len(sizes)
        sizes[-1] = draw(st.integers(1, sizes[0]))
    nodes = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True).map(tuple)
    holders = draw(st.lists(nodes, min_size=len(sizes), max_size=len(sizes)))
    return np.cumsum(sizes).tolist(), holders


@settings(deadline=None)
@given(layouts(), st.data())
def test_every_row_is_asked_for_once_at_a_holder_and_comes_back_to_its_place(drawn, data):
    ends, holders = drawn
    layout = ShardLayout(version_of(ends, holders))
    rows = np.array(data.draw(st.lists(st.integers(0, ends[-1] - 1), min_size=1, max_size=100)), np.int64)

    parts = layout.split(rows, first_holders(layout))

    put_back = np.full(len(rows), -1)
    for part in parts:
        for row in part.rows.tolist():
            shard = next(number for number, end in enumerate(ends) if row < end)
            assert part.node == holders[shard][0]
        put_back[slice(None) if part.places is None else part.places] = part.rows
    np.testing.assert_array_equal(put_back, rows)
    assert len({part.node for part in parts}) == len(parts)


def test_rows_keep_their_order_within_a_part():
    layout = ShardLayout(version_of([100, 200], [(0,), (1,)]))

    parts = layout.split(np.array([150, 3, 101, 2, 3]), first_holders(layout))

    assert [(part.node, part.rows.tolist(), part.places.tolist()) for part in parts] == [
        (0, [3, 2, 3], [1, 3, 4]),
        (1, [150, 101], [0, 2]),
    ]


def test_what_one_node_has_alone_is_not_sorted():
    layout = ShardLayout(version_of([100, 200], [(4, 5), (5, 6)]))
    rows = np.array([150, 3])

    (part,) = layout.split(rows, lambda rows_of_group: dict.fromkeys(rows_of_group, 5))

    assert part.node == 5
    assert part.rows is rows
    assert part.places is None


def test_groups_are_asked_for_with_the_rows_wanted_of_them():
    layout = ShardLayout(version_of([10, 20, 30, 40], [(0,), (1,), (0,), (2,)]))
    seen = {}

    def choose(rows_of_group):
        seen.update({layout.holders[group]: number for group, number in rows_of_group.items()})
        return {group: layout.holders[group][0] for group in rows_of_group}

    layout.split(np.array([1, 11, 12, 21, 22, 23]), choose)

    assert seen == {(0,): 4, (1,): 2}


def test_more_nodes_than_a_byte_can_number_are_told_apart():
    num_shards = 300
    layout = ShardLayout(version_of(list(range(1, num_shards + 1)), [(node,) for node in range(num_shards)]))
    rows = np.arange(num_shards)[::-1].copy()

    parts = layout.split(rows, first_holders(layout))

    assert [(part.node, part.rows.tolist()) for part in parts] == [(node, [node]) for node in range(num_shards)]

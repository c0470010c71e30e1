"""How versions are cut into shards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_store.shard_map import MAX_MAP_BYTES, Node, Shard, ShardedVersion, ShardMap, TableSet, to_message
from store_server.cluster.placement.shard_layout import shards_after, shards_for


@given(st.integers(1, 10**6), st.integers(1, 5000), st.integers(1, 100), st.integers(1, 500))
def test_shards_are_equal_ranges_of_whole_blocks_that_cover_the_table(num_rows, block_rows, num_nodes, num_tables):
    ends = [shard.end_row for shard in shards_for(num_rows, block_rows, num_nodes, num_tables=num_tables)]

    sizes = {end - start for start, end in zip([0, *ends[:-2]], ends[:-1], strict=True)} if len(ends) > 1 else set()
    assert len(sizes) <= 1
    assert all(size % block_rows == 0 for size in sizes)
    assert ends[-1] == num_rows
    assert sorted(set(ends)) == ends
    assert len(ends) <= 8 * num_nodes


def test_there_are_about_eight_shards_a_node():
    assert len(shards_for(10**9, 4096, 4, num_tables=2)) == 32
    assert len(shards_for(20 * 4096, 4096, 4, num_tables=2)) == 20


@pytest.mark.parametrize(("num_tables", "num_nodes", "replicas"), [(300, 40, 3), (2, 1000, 3), (1, 1000, 3)])
def test_a_map_with_three_versions_of_each_table_on_the_move_stays_below_its_limit(num_tables, num_nodes, replicas):
    shards = shards_for(10**9, 4096, num_nodes, num_tables=num_tables)
    nodes = [num_nodes - 1 - i for i in range(replicas + 1)]
    moving = tuple(type(shard)(end_row=shard.end_row, holders=nodes[:-1], joining=nodes[-1:]) for shard in shards)
    versions = [
        ShardedVersion(
            table=f"flash-v4.1/layer-{table:03}",
            version=f"{version:032x}",
            num_rows=10**9,
            row_bytes=264,
            block_rows=4096,
            shards=moving,
            source="file:///srv/models/engram/flash",
        )
        for table in range(num_tables)
        for version in range(3)
    ]
    names = [{each.table: each.version for each in versions[number::3]} for number in range(3)]
    shard_map = ShardMap(
        cluster="c",
        epoch=1,
        replicas=replicas,
        nodes=tuple(
            Node(
                id=f"memory-{i}",
                address=f"memory-{i}.memory.default:50051",
                labels={"zone": "eu-1a", "rack": str(i // 20)},
            )
            for i in range(num_nodes)
        ),
        versions={each.key: each for each in versions},
        sets={"s": TableSet(name="s", current=names[0], previous=names[1], pending=names[2])},
    )

    assert to_message(shard_map).ByteSize() < MAX_MAP_BYTES


def test_a_table_without_rows_or_blocks_cannot_be_cut():
    with pytest.raises(ValueError, match="num_rows must be at least 1, got 0"):
        shards_for(0, 1, 1, num_tables=1)
    with pytest.raises(ValueError, match="block_rows must be at least 1, got 0"):
        shards_for(1, 0, 1, num_tables=1)


def version_of(shards, num_rows, block_rows=4096):
    """A version that nodes hold."""
    held = tuple(Shard(end_row=shard.end_row, holders=(number % 4, 5)) for number, shard in enumerate(shards))
    return ShardedVersion(table="t", version="a", num_rows=num_rows, row_bytes=264, block_rows=block_rows, shards=held)


@pytest.mark.parametrize("num_nodes", [2, 3, 4, 7, 8])
def test_the_next_version_is_cut_as_the_one_before(num_nodes):
    before = version_of(shards_for(10**9, 4096, 4, num_tables=2), 10**9)

    shards = shards_after(before, 10**9, 4096, num_nodes, num_tables=2)

    assert [shard.end_row for shard in shards] == [shard.end_row for shard in before.shards]
    assert not any(shard.holders or shard.joining for shard in shards)


@pytest.mark.parametrize(
    ("num_rows", "block_rows", "num_nodes", "num_tables"),
    [(10**9 + 1, 4096, 4, 2), (10**9, 4095, 4, 2), (10**9, 4096, 1, 2), (10**9, 4096, 9, 2), (10**9, 4096, 3, 500)],
    ids=["other rows", "other blocks", "much fewer nodes", "many more nodes", "too many tables"],
)
def test_a_version_that_would_be_cut_badly_is_cut_anew(num_rows, block_rows, num_nodes, num_tables):
    before = version_of(shards_for(10**9, 4096, 4, num_tables=2), 10**9)

    shards = shards_after(before, num_rows, block_rows, num_nodes, num_tables=num_tables)

    assert shards == shards_for(num_rows, block_rows, num_nodes, num_tables=num_tables)


def test_the_first_version_of_a_table_is_cut_anew():
    assert shards_after(None, 10**6, 4096, 3, num_tables=1) == shards_for(10**6, 4096, 3, num_tables=1)

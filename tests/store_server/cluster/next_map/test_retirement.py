"""Versions that no set names stay in the map for their readers, for a time and while there is room."""

from dataclasses import replace

import pytest
from support.living_nodes import SETTINGS, registration
from support.placements import SHARD_BYTES, a_node, a_version, held, some_nodes

from engram_store.shard_map import MAX_MAP_BYTES, ShardMap, TableSet, VersionKey
from store_server.cluster.next_map.map_steps import next_map
from store_server.cluster.next_map.retirement import RetirementSettings, overdue, retired_versions

OLDEST, OLDER, CURRENT = (VersionKey("t", name) for name in ("v0", "v1", "v2"))
RETIREMENT = RetirementSettings(after_seconds=60, at_latest_seconds=600)


def a_map(nodes, *versions, **names):
    """A map whose set names v2 of table t as current, and of all versions no other one."""
    table_set = TableSet(name="s", current={"t": "v2"}, **names)
    by_key = {version.key: version for version in versions}
    return ShardMap(cluster="c", epoch=7, replicas=2, nodes=tuple(nodes), versions=by_key, sets={"s": table_set})


def three_versions(nodes, num_shards=1):
    return a_map(nodes, *(held(a_version(num_shards, *key), [(0, 1)] * num_shards) for key in (OLDEST, OLDER, CURRENT)))


def said(known, read=()):
    """What nodes say of which each holds all that the map names it for, and the first has readers of `read`."""
    return [
        registration(
            node,
            {
                key: {number for number, shard in enumerate(version.shards) if place in shard.holders}
                for key, version in known.versions.items()
            },
            read=read if place == 0 else (),
        )
        for place, node in enumerate(known.nodes)
    ]


@pytest.mark.parametrize(
    ("seconds", "read", "left"),
    [
        (0, (), {OLDEST, OLDER}),
        (59.9, (), {OLDEST, OLDER}),
        (60, (), set()),
        (60, (OLDER,), {OLDER}),
        (599.9, (OLDER,), {OLDER}),
        (600, (OLDER,), set()),
    ],
)
def test_a_version_stays_while_it_is_read_but_not_for_ever(seconds, read, left):
    known = three_versions(some_nodes(2))

    following, complaints = next_map(
        known,
        said(known, read),
        {},
        SETTINGS,
        retired_seconds=dict.fromkeys((OLDEST, OLDER), seconds),
        retirement=RETIREMENT,
    )

    assert set((following or known).versions) == {CURRENT, *left}
    assert not complaints


@pytest.mark.parametrize(
    ("seconds", "away_seconds", "left"),
    [(60, 29.9, {OLDEST}), (600, 29.9, set()), (60, 30, set())],
)
def test_what_a_node_holds_that_is_away_counts_as_read_until_it_is_lost(seconds, away_seconds, left):
    nodes = some_nodes(3)
    versions = [held(a_version(1, *key), [holders]) for key, holders in ((OLDEST, (0, 2)), (OLDER, (0, 1)))]
    known = a_map(nodes, *versions, held(a_version(1, *CURRENT), [(0, 1)]))

    following, _ = next_map(
        known,
        said(known)[:2],
        {"n2": away_seconds},
        SETTINGS,
        retired_seconds=dict.fromkeys((OLDEST, OLDER), seconds),
        retirement=RETIREMENT,
    )

    assert set(following.versions) == {CURRENT, *left}


def test_a_version_that_any_set_names_is_never_overdue():
    known = three_versions(some_nodes(2))
    known = replace(known, sets={"s": replace(known.sets["s"], previous={"t": "v1"}, pending={"t": "v0"})})
    long_ago = dict.fromkeys(known.versions, 1e9)

    assert retired_versions(known, long_ago) == []
    assert overdue(known, {}, [], long_ago, RETIREMENT) == set()


def test_for_want_of_room_the_longest_retired_version_goes_first_and_no_more_than_must():
    nodes = [a_node(f"n{number}", 9 * SHARD_BYTES) for number in range(2)]
    known = three_versions(nodes, num_shards=3)
    pending = a_version(2, "t", "v3")
    known = replace(
        known,
        versions={**known.versions, pending.key: pending},
        sets={"s": replace(known.sets["s"], pending={"t": "v3"})},
    )

    following, complaints = next_map(
        known, said(known, (OLDEST, OLDER)), {}, SETTINGS, retired_seconds={OLDEST: 5.0, OLDER: 9.0}
    )

    assert set(following.versions) == {OLDEST, CURRENT, pending.key}
    assert all(shard.joining == (0, 1) for shard in following.versions[pending.key].shards)
    assert not complaints


def test_a_retired_version_is_the_last_to_find_room_and_leaves_if_there_is_none():
    nodes = [a_node("n0", 4 * SHARD_BYTES), a_node("n1", 6 * SHARD_BYTES)]
    known = a_map(nodes, held(a_version(3, *OLDER), [(1,)] * 3), held(a_version(3, *CURRENT), [(1,)] * 3))

    following, complaints = next_map(known, said(known, (OLDER,)), {}, SETTINGS)

    assert set(following.versions) == {CURRENT}
    assert all(shard.joining == (0,) for shard in following.versions[CURRENT].shards)
    assert not complaints


def test_a_version_that_fits_in_no_case_is_complained_of_when_all_retired_ones_have_gone():
    nodes = [a_node(f"n{number}", 2 * SHARD_BYTES) for number in range(2)]
    known = three_versions(nodes, num_shards=3)

    following, complaints = next_map(known, said(known), {}, SETTINGS)

    assert set(following.versions) == {CURRENT}
    assert "have no place" in complaints[0]


def test_a_retired_version_stays_where_its_room_is_no_use_to_the_others():
    nodes = [a_node("n0", 9 * SHARD_BYTES), a_node("n1", SHARD_BYTES)]
    current = held(a_version(3, *CURRENT), [(0, 1), (0,), (0,)])
    known = a_map(nodes, held(a_version(1, *OLDEST), [(0,)]), held(a_version(1, *OLDER), [(0,)]), current)

    following, complaints = next_map(known, said(known), {}, SETTINGS)

    assert set((following or known).versions) == {OLDEST, OLDER, CURRENT}
    assert "have no place" in complaints[0]


def large(key):
    """A version whose shards are two thirds of what a map may hold."""
    version = held(a_version(1, *key), [(0, 1)])
    return replace(version, source="x" * (MAX_MAP_BYTES * 2 // 3))


def test_retired_versions_leave_a_map_that_grows_too_large():
    nodes = some_nodes(2)
    known = a_map(nodes, large(OLDEST), large(OLDER), held(a_version(1, *CURRENT), [(0, 1)]))

    following, complaints = next_map(known, said(known), {}, SETTINGS, retired_seconds={OLDER: 1.0})

    assert set(following.versions) == {OLDEST, CURRENT}
    assert not complaints


def test_a_map_that_is_too_large_all_the_same_is_not_proposed_and_somebody_is_told():
    nodes = some_nodes(3)
    known = a_map(nodes[:2], large(CURRENT), large(VersionKey("u", "v1")), previous={"u": "v1"})

    following, complaints = next_map(known, [*said(known), registration(nodes[2], {})], {}, SETTINGS)

    assert following is None
    assert "the shard map would have 1,3" in complaints[0]
    assert "at most 1,048,576 are possible" in complaints[0]


@pytest.mark.parametrize(("after", "at_latest"), [(0, 1), (2, 1)])
def test_times_that_make_no_sense_are_refused(after, at_latest):
    with pytest.raises(ValueError, match=f"got {after} and {at_latest}"):
        RetirementSettings(after_seconds=after, at_latest_seconds=at_latest)

"""What taking tables out of a set makes of a map, without a cluster."""

from dataclasses import replace

import pytest
from support.placements import SHARD_BYTES, a_version, held, some_nodes

from engram_store.shard_map import ShardMap, TableSet, VersionKey
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.next_map.removed_tables import no_more_named, without_tables

OLD, CURRENT, OTHERS = (
    held(a_version(2, *names), [(0, 1), (1, 2)]) for names in (("t", "v1"), ("t", "v2"), ("u", "v2"))
)
COMING, OTHERS_COMING = (a_version(2, table, "v3") for table in "tu")
SET = TableSet(
    name="s",
    current={"t": "v2", "u": "v2"},
    previous={"t": "v1"},
    pending={"t": "v3", "u": "v3"},
    publisher="p",
)
OF_OTHERS = held(a_version(1, "w"), [(0, 1)])
KNOWN = ShardMap(
    cluster="c",
    epoch=7,
    replicas=2,
    nodes=tuple(some_nodes(3)),
    versions={each.key: each for each in (OLD, CURRENT, OTHERS, COMING, OTHERS_COMING, OF_OTHERS)},
    sets={"s": SET, "others": TableSet(name="others", current={"w": "v1"})},
)


def test_a_table_leaves_its_set_with_all_its_versions_which_stay_for_readers_if_anybody_holds_them():
    following = without_tables(KNOWN, "s", ["t"])

    after = TableSet(name="s", current={"u": "v2"}, pending={"u": "v3"}, publisher="p")
    assert following.sets == {**KNOWN.sets, "s": after}
    assert following.epoch == 8
    assert following.versions.keys() == KNOWN.versions.keys() - {COMING.key}
    assert no_more_named(KNOWN, following) == {
        VersionKey("t", "v1"): 4 * SHARD_BYTES,
        VersionKey("t", "v2"): 4 * SHARD_BYTES,
        VersionKey("t", "v3"): 0,
    }


@pytest.mark.parametrize("tables", [(), ("t", "u")])
def test_a_set_without_tables_is_gone(tables):
    following = without_tables(KNOWN, "s", tables)

    assert following.sets.keys() == {"others"}
    assert following.versions.keys() == {OLD.key, CURRENT.key, OTHERS.key, OF_OTHERS.key}


def test_a_set_of_which_something_is_still_current_has_no_publisher_when_nothing_is_pending():
    known = replace(KNOWN, sets={"s": replace(SET, pending={"t": "v3"})})

    assert without_tables(known, "s", ["t"]).sets["s"] == TableSet(name="s", current={"u": "v2"})


def test_a_set_or_table_that_is_not_there_is_named():
    with pytest.raises(CannotPublish, match="the cluster has no set 'x', it has others, s"):
        without_tables(KNOWN, "x", ())
    with pytest.raises(CannotPublish, match="set 's' has no table 'w', it has t, u"):
        without_tables(KNOWN, "s", ["t", "w"])

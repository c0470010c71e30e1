"""When a publisher may make its versions current, and what the map is then."""

from dataclasses import replace

import pytest
from support.placements import a_version, held, some_nodes

from engram_store.shard_map import ShardMap, TableSet
from store_server.cluster.next_map.set_switch import is_complete, switched

VERSIONS = [held(a_version(2, *names), [(0, 1), (1, 2)]) for names in (("t", "v1"), ("u", "v1"), ("t", "v2"))]
BY_KEY = {version.key: version for version in VERSIONS}
SET = TableSet(
    name="s",
    current={"t": "v1", "u": "v1"},
    pending={"t": "v2"},
    pending_complete=True,
    publisher="p",
)
KNOWN = ShardMap(cluster="c", epoch=7, replicas=2, nodes=tuple(some_nodes(3)), versions=BY_KEY, sets={"s": SET})


def test_what_was_current_is_previous_and_a_table_without_a_pending_version_keeps_its_current_one():
    following = switched(KNOWN, "s", {"t": "v2"}, "p")

    after = TableSet(name="s", current={"t": "v2", "u": "v1"}, previous=SET.current)
    assert following == replace(KNOWN, epoch=8, sets={"s": after})


@pytest.mark.parametrize(
    "changes",
    [{"pending_complete": False}, {"publisher": "q"}, {"publisher": ""}, {"pending": {"u": "v1"}}, {"pending": {}}],
)
def test_nothing_is_switched_but_what_this_publisher_has_pending_and_all_nodes_have(changes):
    known = replace(KNOWN, sets={"s": replace(SET, **changes)})

    assert switched(known, "s", {"t": "v2"}, "p") is None
    assert switched(known, "other", {"t": "v2"}, "p") is None


def test_versions_are_complete_when_each_shard_has_enough_holders():
    assert is_complete(SET, BY_KEY, 2)
    assert not is_complete(SET, BY_KEY, 3)
    assert not is_complete(replace(SET, pending={}), BY_KEY, 1)

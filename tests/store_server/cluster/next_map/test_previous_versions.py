"""What rolling back and forgetting make of a map, without a cluster."""

import dataclasses

import pytest
from support.shard_maps import shard_map_of

from engram_store.shard_map import Node, Shard, TableSet, VersionKey
from store_server.cluster.next_map.previous_versions import forgotten, rolled_back
from store_server.cluster.next_map.publishing import CannotPublish

NODES = tuple(Node(id=each, address=f"{each}:1") for each in "abc")
BEFORE = shard_map_of(*NODES, replicas=2, epoch=7)
V1 = BEFORE.versions[VersionKey("layer-1", "v1")]
V2 = dataclasses.replace(V1, version="v2", shards=(Shard(end_row=100, holders=(1, 2)),))
KNOWN = dataclasses.replace(
    BEFORE,
    versions={V1.key: V1, V2.key: V2},
    sets={"model": TableSet(name="model", current={"layer-1": "v2"}, previous={"layer-1": "v1"})},
)


def test_a_rollback_exchanges_current_and_previous_and_a_second_one_takes_it_back():
    back = rolled_back(KNOWN, "model")

    assert (back.sets["model"].current, back.sets["model"].previous) == ({"layer-1": "v1"}, {"layer-1": "v2"})
    assert rolled_back(back, "model") == dataclasses.replace(KNOWN, epoch=KNOWN.epoch + 2)


def test_a_rollback_to_what_nobody_holds_is_refused():
    nobodys = dataclasses.replace(V1, shards=(Shard(end_row=50, holders=(0,)), Shard(end_row=100, holders=())))

    with pytest.raises(CannotPublish, match="nobody holds 1 of 2 shards of version v1 .*, the first is shard 1"):
        rolled_back(dataclasses.replace(KNOWN, versions={**KNOWN.versions, V1.key: nobodys}), "model")


def test_what_is_forgotten_is_no_longer_previous_and_stays_in_the_map_for_its_readers():
    following = forgotten(KNOWN, "model")

    assert following == dataclasses.replace(
        KNOWN, epoch=8, sets={"model": TableSet(name="model", current={"layer-1": "v2"})}
    )


@pytest.mark.parametrize("change", [rolled_back, forgotten])
def test_a_set_that_is_not_there_or_has_nothing_previous_is_named(change):
    with pytest.raises(CannotPublish, match="set 'model' has no previous versions"):
        change(BEFORE, "model")
    with pytest.raises(CannotPublish, match="no set 'other', it has model"):
        change(BEFORE, "other")

"""What publishing makes of a map, without a cluster."""

import dataclasses

import pytest
from support.checkpoints import attach_rows
from support.rows import random_rows
from support.shard_maps import shard_map_of

from engram_store.shard_map import Node, Shard, ShardMap, VersionKey
from store_server.cluster.next_map.pending_versions import bytes_held, is_pending, without_pending_of
from store_server.cluster.next_map.publishing import CannotPublish, with_pending
from store_server.cluster.next_map.set_switch import switched
from store_server.storage import DataRoot, verify
from store_server.storage.manifest import Manifest

NODES = tuple(Node(id=each, address=f"{each}:1", capacity_bytes=10_000) for each in "abc")
KNOWN = shard_map_of(*NODES, replicas=2, epoch=7)
LIVING = {"a", "b", "c"}
CURRENT = KNOWN.versions[VersionKey("layer-1", "v1")]


def manifest_of(num_rows=100, row_bytes=16, fill="0", **changes):
    values = {
        "num_rows": num_rows,
        "row_bytes": row_bytes,
        "row_format": "float32",
        "fingerprint": "fp",
        "backend": "mmap",
        "data_bytes": num_rows * row_bytes,
        "block_rows": 10,
        "block_digests": tuple(fill * 32 for _ in range(-(-num_rows // 10))),
    }
    return Manifest(**values | changes)


def published(known=KNOWN, set_name="model", table="layer-1", manifest=None, **options):
    settings = {"source": "file:///origin", "living": LIVING, "publisher": "p"} | options
    return with_pending(known, set_name, {table: manifest or manifest_of()}, **settings)


def held(known, version):
    """The map once nodes hold the pending version of layer-1."""
    key = VersionKey("layer-1", version)
    shards = tuple(dataclasses.replace(shard, holders=(1, 2)) for shard in known.versions[key].shards)
    each = dataclasses.replace(known.sets["model"], pending_complete=True)
    versions = {**known.versions, key: dataclasses.replace(known.versions[key], shards=shards)}
    return dataclasses.replace(known, versions=versions, sets={"model": each})


def current(known, version):
    """The map once it is current."""
    return switched(held(known, version), "model", {"layer-1": version}, "p")


def test_a_new_version_is_pending_and_the_old_one_stays_current():
    manifest = manifest_of()

    following = published(manifest=manifest)

    each = following.sets["model"]
    assert (following.epoch, each.current, each.pending) == (8, {"layer-1": "v1"}, {"layer-1": manifest.version})
    version = following.versions[VersionKey("layer-1", manifest.version)]
    assert (version.source, version.num_rows, version.block_rows) == ("file:///origin", 100, 10)
    assert version.shards[-1].end_row == 100
    assert not any(shard.holders or shard.joining for shard in version.shards)
    assert is_pending(following, "model", {"layer-1": manifest.version})
    assert (each.publisher, each.pending_complete) == ("p", False)


def test_the_first_versions_of_a_set_are_published_into_an_empty_cluster():
    empty = ShardMap(cluster="prod", epoch=1, replicas=2, nodes=NODES)

    following = published(empty)

    assert (following.sets["model"].current, len(following.versions)) == ({}, 1)


def test_what_was_pending_before_gives_way_with_its_version():
    first, second = manifest_of(fill="1"), manifest_of(fill="2")
    known = held(published(manifest=first), first.version)
    lacking = dataclasses.replace(
        known, sets=published(manifest=first).sets, versions=published(manifest=first).versions
    )

    following = published(lacking, manifest=second, publisher="q")

    assert {key.version for key in following.versions} == {"v1", second.version}
    assert published(known, manifest=second, publisher="q").sets == following.sets
    assert (following.sets["model"].publisher, following.sets["model"].pending_complete) == ("q", False)
    assert not is_pending(following, "model", {"layer-1": first.version})


def test_a_publish_that_is_repeated_keeps_what_nodes_have_already_and_names_its_own_source():
    first = published()
    key = VersionKey("layer-1", manifest_of().version)
    begun = dataclasses.replace(
        first.versions[key],
        shards=(dataclasses.replace(first.versions[key].shards[0], holders=(1,)), *first.versions[key].shards[1:]),
    )

    again = published(dataclasses.replace(first, versions={**first.versions, key: begun}), source="file:///elsewhere")

    assert again.versions[key] == dataclasses.replace(begun, source="file:///elsewhere")


def test_a_version_that_can_have_readers_is_retired_when_another_is_pending_in_its_place():
    first, second = manifest_of(fill="1"), manifest_of(fill="2")
    key = VersionKey("layer-1", first.version)
    known = held(published(manifest=first), first.version)

    assert key in published(known, manifest=second).versions
    assert key in without_pending_of(known, {"p"}).versions


def test_retired_versions_take_no_room_from_new_ones_and_stay_in_the_map():
    retired = dataclasses.replace(CURRENT, version="v0", num_rows=1_000, shards=(Shard(end_row=1_000, holders=(0, 1)),))
    known = dataclasses.replace(KNOWN, versions={**KNOWN.versions, retired.key: retired})

    following = published(known, manifest=manifest_of(num_rows=700))

    assert set(following.versions) >= {retired.key, CURRENT.key}


def test_a_map_that_would_grow_too_large_is_refused_before_anything_is_copied():
    with pytest.raises(CannotPublish, match="the shard map would have .* bytes, at most 1,048,576 are possible"):
        published(source="x" * (1 << 20))


def test_more_replicas_than_the_nodes_have_memory_for_are_refused():
    small = tuple(dataclasses.replace(node, capacity_bytes=2_500) for node in NODES)
    known = current(published(dataclasses.replace(KNOWN, nodes=small)), manifest_of().version)

    with pytest.raises(CannotPublish, match="the nodes have not enough memory: "):
        published(known, replicas=3)


def test_what_is_current_already_is_not_published_again():
    known = current(published(), manifest_of().version)

    assert published(known) is known
    assert published(known, replicas=3) == dataclasses.replace(known, replicas=3, epoch=known.epoch + 1)
    with pytest.raises(CannotPublish, match="4 replicas need as many nodes, and 3 are alive"):
        published(known, replicas=4)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"manifest": manifest_of(row_bytes=32)}, "has row_bytes 16, version .* has 32.*--allow-change"),
        ({"manifest": manifest_of(row_format="int8")}, "has row_format 'float32'"),
        ({"manifest": manifest_of(fingerprint="other")}, "has fingerprint 'fp'"),
        ({"set_name": "other"}, "table 'layer-1' belongs to the set 'model'"),
        ({"replicas": 4}, "4 replicas need as many nodes, and 3 are alive"),
        ({"replicas": 3, "living": {"a", "b"}}, "3 replicas need as many nodes, and 2 are alive"),
        ({"living": {"a"}}, "2 replicas need as many nodes, and 1 are alive"),
        ({"replicas": 0}, "replicas must be at least 1, got 0"),
        (
            {"manifest": manifest_of(num_rows=1_000)},
            "not enough memory: .* 2 copies of all versions need 35200 bytes, and the 3 nodes that stay can hold 30000",
        ),
    ],
)
def test_what_cannot_become_current_is_refused_with_the_reason(changes, error):
    with pytest.raises(CannotPublish, match=error):
        published(**changes)


@pytest.mark.parametrize("has_digests", [False, True])
def test_an_attached_version_is_refused_with_the_step_that_helps_first(tmp_path, has_digests):
    version = attach_rows(tmp_path / "root", "layer-1", random_rows(100, 16))
    root = DataRoot.open(tmp_path / "root")
    if has_digests:
        list(verify(root, "layer-1", version))

    with pytest.raises(CannotPublish, match="lies in files of a checkpoint, .*: import it, and publish that"):
        published(manifest=root.manifest("layer-1", version))


def test_another_row_width_is_published_if_that_is_meant():
    manifest = manifest_of(row_bytes=32)

    assert is_pending(published(manifest=manifest, allow_change=True), "model", {"layer-1": manifest.version})


def test_what_a_publisher_has_pending_is_given_up_and_nothing_of_others():
    assert without_pending_of(published(), {"p"}) == dataclasses.replace(KNOWN, epoch=8)
    for known, publishers in ((KNOWN, {"p", ""}), (published(), {"q", ""}), (published(), ())):
        assert without_pending_of(known, publishers) is known

    empty = ShardMap(cluster="prod", epoch=1, replicas=2, nodes=NODES)
    assert without_pending_of(published(empty), {"p"}) == dataclasses.replace(empty, epoch=2)


def test_progress_counts_bytes_of_all_copies_but_no_more():
    assert bytes_held(KNOWN, {"layer-1": "v1"}) == (1_600, 3_200)
    crowded = dataclasses.replace(CURRENT, shards=(Shard(end_row=100, holders=(0, 1, 2)),))
    known = dataclasses.replace(KNOWN, versions={CURRENT.key: crowded})
    assert bytes_held(known, {"layer-1": "v1"}) == (3_200, 3_200)


def test_the_next_version_of_a_table_is_cut_like_the_current_one():
    shards = tuple(Shard(end_row=10 * (each + 1), holders=(each % 3, (each + 1) % 3)) for each in range(10))
    known = dataclasses.replace(KNOWN, versions={CURRENT.key: dataclasses.replace(CURRENT, shards=shards)})
    manifest = manifest_of(fill="1")

    following = published(known, manifest=manifest)

    new = following.versions[VersionKey("layer-1", manifest.version)]
    assert [(shard.end_row, shard.joining, shard.holders) for shard in new.shards] == [
        (shard.end_row, (), ()) for shard in shards
    ]

"""The map that a node knows: forward only, and kept."""

import pytest
from structlog.testing import capture_logs
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import read_shard_map, to_message
from store_server.cluster.known_map import KnownMap
from store_server.storage import RootOfAnotherCluster

FIRST = shard_map_of()


def test_a_newer_map_is_taken_and_known_after_a_restart(tmp_path):
    known = KnownMap(tmp_path)

    assert known.epoch == 0
    assert known.take(FIRST)
    assert known.take(later(FIRST))
    assert (known.newest, known.message, known.epoch) == (later(FIRST), to_message(later(FIRST)), 2)
    assert KnownMap(tmp_path).newest == later(FIRST)
    assert KnownMap(tmp_path).message == to_message(later(FIRST))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FIRST, "shard map is older than the one known"),
        (later(FIRST, replicas=1, sets={}), "shard map differs and has the same epoch, which must rise"),
        (later(later(shard_map_of(cluster="other"))), "shard map of another cluster"),
        (later(FIRST), ""),
    ],
)
def test_any_other_map_is_not_taken_and_named(tmp_path, found, said):
    known = KnownMap(tmp_path)
    known.take(later(FIRST))

    with capture_logs() as logs:
        assert not known.take(found)

    assert known.newest == KnownMap(tmp_path).newest == later(FIRST)
    assert "".join(log["event"] for log in logs).startswith(said)
    assert bool(logs) == bool(said)


def test_a_kept_map_that_cannot_be_read_is_named_and_then_replaced(tmp_path):
    KnownMap(tmp_path).take(FIRST)
    (tmp_path / "cluster" / "map.json").write_text("{")

    with capture_logs() as logs:
        known = KnownMap(tmp_path)

    assert [log["event"] for log in logs] == ["the last shard map cannot be read"]
    assert known.newest is None
    assert known.take(FIRST)
    assert read_shard_map((tmp_path / "cluster" / "map.json").read_bytes()) == FIRST


def test_a_map_that_cannot_be_kept_is_taken_all_the_same(tmp_path):
    (tmp_path / "cluster").write_text("no directory")
    known = KnownMap(tmp_path)

    with capture_logs() as logs:
        assert known.take(FIRST)

    assert known.newest == FIRST
    assert logs[0]["event"] == "the shard map cannot be kept"


def test_one_process_of_several_keeps_the_map_and_the_others_begin_with_it(tmp_path):
    other = KnownMap(tmp_path, is_kept=False)
    other.take(FIRST)

    assert KnownMap(tmp_path).newest is None

    KnownMap(tmp_path).take(FIRST)

    assert KnownMap(tmp_path, is_kept=False).newest == FIRST


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_root_that_knows_another_cluster_is_refused_and_keeps_what_it_knows(tmp_path, is_kept):
    KnownMap(tmp_path, cluster=FIRST.cluster).take(FIRST)

    with pytest.raises(
        RootOfAnotherCluster, match=r"--cluster names 'prd': correct the name.* remove map\.json and id in "
    ):
        KnownMap(tmp_path, cluster="prd", is_kept=is_kept)

    assert KnownMap(tmp_path, cluster=FIRST.cluster).newest == FIRST

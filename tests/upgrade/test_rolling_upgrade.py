"""Nodes and clients of this release beside those of the last one: all understand each other, and no fetch fails."""

import pytest
from support.etcd import needs_etcd
from upgrade.clusters import NUM_NODES, etcd_cluster, file_cluster
from upgrade.releases import last_release, this_release
from upgrade.rolling import Pace, go_on, loads, upgrade_and_back

PACE = Pace(fetches_between=3, pause_seconds=0.15)  # what is left of two cores is for nodes that start and stop
CLUSTERS = [
    pytest.param(etcd_cluster, 1, id="etcd, one node of three", marks=needs_etcd),
    pytest.param(etcd_cluster, NUM_NODES, id="etcd", marks=[needs_etcd, pytest.mark.long]),
    pytest.param(file_cluster, NUM_NODES, id="map in a file", marks=pytest.mark.long),
]


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    return last_release(tmp_path_factory.mktemp("last"))


@pytest.fixture(scope="module")
def this():
    return this_release()


@pytest.mark.parametrize("new", [True, False], ids=["nodes of this release", "nodes of the last release"])
def test_clients_of_both_releases_get_their_rows_from_nodes_of_one(tmp_path, last, this, new):
    nodes_of = this if new else last
    with file_cluster(tmp_path, nodes_of) as cluster, loads((last, this), cluster.url, PACE) as clients:
        go_on(clients)
        seen = [client.end() for client in clients]

    assert [each.release for each in seen] == ["last", "this"]
    assert all(each.is_right for each in seen), seen


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("running_cluster", "num_nodes"), CLUSTERS)
def test_nodes_are_upgraded_and_downgraded_one_after_the_other_and_no_fetch_fails(
    tmp_path, last, this, running_cluster, num_nodes
):
    with running_cluster(tmp_path, last) as cluster:
        seen = upgrade_and_back(cluster, last, this, num_nodes=num_nodes, pace=PACE)

    assert [each.release for each in seen] == ["last", "this"]
    assert all(each.is_right for each in seen), seen

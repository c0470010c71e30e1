"""What nodes of a cluster show of it while one of them is killed, and when its rows are elsewhere."""

import signal
import time

import pytest
from support.etcd import needs_etcd
from support.published_cluster import PATIENCE_SECONDS, published_cluster
from support.rows import random_rows
from support.scraping import scrape
from support.tables import write_table

pytestmark = needs_etcd


@pytest.fixture(scope="module")
def new_tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("new") / "root"
    write_table(root, "layer-1", random_rows(1000, 64))
    return root


def seen_by(node):
    """How many nodes are in the map, alive and lost, and how many rows lack a copy."""
    shown = scrape(node)
    return (
        shown.total("engram_cluster_nodes", state="in_map"),
        shown.total("engram_cluster_nodes", state="alive"),
        shown.total("engram_cluster_lost_nodes_total"),
        shown.total("engram_cluster_rows_short_of_replicas", table="layer-1"),
    )


def test_a_node_that_is_killed_is_missing_until_others_have_its_rows_and_counts_as_lost(tmp_path, new_tables):
    with published_cluster(tmp_path, 3, "--metrics-listen", "127.0.0.1:0") as cluster:
        publisher = cluster.begin_publish(new_tables, "layer-1", "--set", "model")
        said, _ = publisher.communicate(timeout=PATIENCE_SECONDS)
        assert publisher.returncode == 0, said
        found = cluster.map_when(lambda found: bool(found.current_versions()))
        holder = found.nodes[found.current_versions()[0].shards[0].holders[0]].address
        (killed,) = (node for node in cluster.nodes if node.address == holder)
        watching = next(node for node in cluster.nodes if node is not killed)
        seen, deadline = [], time.monotonic() + PATIENCE_SECONDS
        cluster.until(lambda: seen_by(watching) == (3, 3, 0, 0))

        killed.stop(signal.SIGKILL)
        while (2, 2, 1, 0) not in seen:
            assert time.monotonic() < deadline, seen
            seen.append(seen_by(watching))

    while_away = [each for each in seen if each[:3] == (3, 2, 0)]
    assert while_away
    assert {rows > 0 for *_, rows in while_away} == {True}

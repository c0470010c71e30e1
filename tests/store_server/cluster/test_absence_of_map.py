"""What is said where there is no shard map: a wrong name, too few nodes, a cluster that is just beginning, no file."""

import pytest

from engram_store.shard_map import Node
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.living_cluster import absence_of_map, living_cluster
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.registration import NodeRegistration

A, B = (
    NodeRegistration(node=Node(id=name, address=f"{name}:1"), incarnation="1", replicas=replicas)
    for name, replicas in (("a", 2), ("b", 0))
)


def test_a_name_under_which_nobody_is_registered_is_doubted():
    assert absence_of_map("cluster 'tri'", []).startswith("no node is registered in cluster 'tri', and it has no shard")


def test_of_too_few_nodes_it_is_said_how_many_are_needed():
    assert (
        absence_of_map("here", [A]) == "here has no shard map yet: 2 replicas need as many nodes, and 1 node is alive"
    )


def test_with_enough_nodes_it_is_a_matter_of_time():
    assert absence_of_map("here", [A, B]) == (
        "here has no shard map yet: 2 nodes are alive, and the first map comes some ten seconds after they began"
    )
    assert "1 node is alive, and the first" in absence_of_map("here", [B])


async def test_the_path_of_a_map_that_is_not_there_is_named(tmp_path):
    async with living_cluster(ClusterConfig(url=(tmp_path / "map.json").as_uri(), node_id="x")) as cluster:
        with pytest.raises(CannotPublish, match=rf"^there is no shard map at {tmp_path / 'map.json'}$"):
            await cluster.shard_map()

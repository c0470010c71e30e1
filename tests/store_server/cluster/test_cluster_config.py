"""Settings of a node of a cluster, and what the command line makes of them."""

import re

import pytest
from support.shard_maps import shard_map_of

from engram_store.shard_map import Node
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.member import absence
from store_server.commands.cluster_options import parse_labels
from store_server.config import ServerConfig


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"node_id": ""}, "needs an id (--node-id)"),
        ({"node_id": "a/b"}, "1 to 100 letters"),
        ({"labels": {"zone": ""}}, "got zone="),
        ({"labels": {"z=": "a"}}, "KEY=VALUE"),
        (
            {"labels": {"zone": "a", "region": "eu"}},
            "a label is one of zone, rack, by which copies are spread, got r",
        ),
        ({"labels": {"zones": "a"}}, "got zones=a"),
        ({"capacity_bytes": -1}, "capacity_bytes must be at least 0 and at most 2**62, got -1"),
        ({"capacity_bytes": 1 << 63}, "got 9223372036854775808"),
        ({"address": "10.0.0.7"}, "address (--advertise) must be where others reach this node, HOST:PORT with a port"),
        ({"address": "h:0"}, "got 'h:0'"),
        ({"address": "0.0.0.0:50051"}, "got '0.0.0.0:50051'"),
        ({"address": "unix://"}, "got 'unix://'"),
        ({"replicas": 0}, "replicas must be at least 1 and at most 100, got 0"),
        ({"lease_seconds": 0}, "lease_seconds must be at least 1 and at most 3600, got 0"),
        ({"lost_after_seconds": 10.0}, "(--lost-after) must be above lease_seconds (--lease-seconds), 10"),
        ({"all_lost_after_seconds": 59.0}, "at most all_lost_after_seconds (--all-lost-after), 59.0, got 60.0"),
        ({"copy_bytes_per_second": 0.0}, "copy_bytes_per_second (--copy-rate) must be above 0, got 0"),
        ({"scrub_bytes_per_second": float("nan")}, "scrub_bytes_per_second (--scrub-rate) must be above 0, got nan"),
        ({"retire_after_seconds": 0.0}, "retire_after_seconds must be above 0"),
        ({"retire_at_latest_seconds": 59.0}, "at most retire_at_latest_seconds, got 60 and 59"),
        ({"cert_file": "cert"}, "give both or neither"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        ClusterConfig(**{"url": "file:///m", "node_id": "a"} | settings)


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:50051"])
def test_a_node_that_listens_everywhere_has_to_say_where_it_is_reached(tmp_path, listen):
    with pytest.raises(ValueError, match="give --advertise too"):
        ServerConfig(root=tmp_path, listen=listen, cluster=ClusterConfig(url="file:///m", node_id="a"))

    config = ClusterConfig(url="file:///m", node_id="a", address="h:1")
    ServerConfig(root=tmp_path, listen=listen, cluster=config, insecure=True)


def test_labels_are_keys_and_values():
    assert parse_labels(["zone=a", "rack=7=8"]) == {"zone": "a", "rack": "7=8"}
    assert parse_labels(None) == {}
    for wrong in (["zone"], ["zone=a", "zone=b"]):
        with pytest.raises(ValueError, match="KEY=VALUE, each key once"):
            parse_labels(wrong)


def test_a_node_that_the_map_does_not_know_is_told_how():
    shard_map = shard_map_of(Node(id="a", address="h:1"), Node(id="b", address="h:2"))

    assert absence(shard_map, "a", "h:1") == ""
    assert absence(shard_map, "c", "h:3").startswith("node c is not in the shard map")
    assert absence(shard_map, "b", "h:3").startswith("the shard map has node b at h:2, this one is at h:3")

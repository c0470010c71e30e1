"""Whether nodes can fetch from where a publisher serves."""

import pytest

from engram_store.shard_map import Node
from store_server.cluster.registration import NodeRegistration
from store_server.commands.failure import CommandFailed
from store_server.commands.publish import require_reached


def living(*addresses):
    return {
        f"n{number}": NodeRegistration(node=Node(id=f"n{number}", address=address), incarnation="1")
        for number, address in enumerate(addresses)
    }


@pytest.mark.parametrize("address", ["127.0.0.1:7", "[::1]:7", "localhost:7"])
def test_a_publisher_on_loopback_is_refused_by_name_of_the_first_node_that_is_elsewhere(address):
    require_reached(address, living("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:///run/node"))

    with pytest.raises(CommandFailed, match=r"node n1 is at 10\.0\.0\.7:1: give --serve-on an address of this host"):
        require_reached(address, living("127.0.0.1:1", "10.0.0.7:1", "memory-3:1"))


@pytest.mark.parametrize("address", ["10.0.0.5:7", "publisher:7"])
def test_a_publisher_elsewhere_may_be_reached_by_all(address):
    require_reached(address, living("127.0.0.1:1", "10.0.0.7:1"))

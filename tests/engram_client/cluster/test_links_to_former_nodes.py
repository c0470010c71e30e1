"""Links to nodes that are no longer in the map are closed wholly, also when the store is closed just then."""

import asyncio
from dataclasses import dataclass

from support.fake_cluster import FakeClusterNode, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.cluster_transport import ClusterTransport


@dataclass
class SlowlyClosingNode(FakeClusterNode):
    is_closed: bool = False

    async def close(self):
        await asyncio.sleep(0.1)
        self.is_closed = True


def test_closing_the_store_lets_the_closing_of_a_former_nodes_link_end():
    async def close_while_a_link_closes():
        newest = shard_map_of(1, sharded([(0,)]), epoch=2)
        nodes = [SlowlyClosingNode(number, newest) for number in range(2)]
        first = shard_map_of(2, sharded([(0,)]))
        client = ClusterTransport(first, lambda address: nodes[int(address.removeprefix("node-"))])
        await client.look(1.0)

        await client.close()

        assert [node.is_closed for node in nodes] == [True, True]

    run_virtually(close_while_a_link_closes())

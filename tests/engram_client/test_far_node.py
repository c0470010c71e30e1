"""A node that is far away: what takes a few round trips takes as long as they do, and is no failure."""

from support.delaying_proxy import delaying_proxy
from support.fake_node import FakeNode
from support.rows import random_rows

from engram_client.grpc_transport import GrpcTransport
from engram_client.keyring import Keyring
from engram_client.security import Security


async def test_a_connection_to_a_node_300_ms_away_is_made_at_the_first_try():
    async with FakeNode(random_rows(10, 8)).listening() as url:
        with delaying_proxy(url.removeprefix("grpc://")) as proxy:
            proxy.add_round_trip(0.3)
            transport = GrpcTransport(proxy.address, retries=False, keyring=Keyring(Security()))
            table = await transport.get_table("t", "", 30.0)
            await transport.close()

    assert table.name == "t"

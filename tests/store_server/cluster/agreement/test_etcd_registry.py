"""Nodes that register in etcd: seen while they live, and only one of each id."""

import asyncio
import contextlib
import dataclasses

import pytest
from aetcd import rpc
from structlog.testing import capture_logs
from support.etcd import needs_etcd, running_etcd

from engram_store.shard_map import Node, VersionKey
from store_server.cluster.agreement.etcd_access import EtcdAccess
from store_server.cluster.agreement.etcd_connection import EtcdConnection
from store_server.cluster.agreement.etcd_publishers import EtcdPublishers
from store_server.cluster.agreement.etcd_registry import EtcdRegistry
from store_server.cluster.agreement.etcd_url import EtcdUrl
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.registry import NodeIdTaken
from store_server.cluster.registration import NodeRegistration

pytestmark = needs_etcd
PATIENCE_SECONDS = 30
A = NodeRegistration(
    node=Node(id="a", address="h:1", labels={"zone": "z"}, capacity_bytes=7),
    incarnation="first",
    held={VersionKey("t", "v"): ((0, 3), (5, 6))},
    bytes_used=44,
)
B = NodeRegistration(node=Node(id="b", address="h:2"), incarnation="other")


@pytest.fixture
async def connect(url):
    """Make a registry, by default one of nodes, with a connection and a lease of its own."""
    async with contextlib.AsyncExitStack() as stack:

        def connected(lease_seconds=60, kind=EtcdRegistry):
            connection = EtcdConnection(url, EtcdAccess())
            stack.push_async_callback(connection.close)
            return kind(connection, url, lease_seconds)

        yield connected


async def heard(pictures):
    return await asyncio.wait_for(anext(pictures), PATIENCE_SECONDS)


async def heard_until(pictures, wanted):
    while await heard(pictures) != wanted:
        pass


async def test_others_see_who_registers_what_changes_and_who_leaves(connect):
    one, other = connect(), connect()
    await one.register(A)
    async with contextlib.aclosing(connect().watch()) as pictures:
        assert await heard(pictures) == {"a": A}

        await other.register(B)
        assert await heard(pictures) == {"a": A, "b": B}

        fuller = dataclasses.replace(A, held={}, bytes_used=0)
        await one.register(fuller)
        assert await heard(pictures) == {"a": fuller, "b": B}

        await other.leave()
        assert await heard(pictures) == {"a": fuller}


async def test_who_says_nothing_any_more_is_gone_after_its_lease(connect):
    await connect(lease_seconds=1).register(A)
    lasting = connect(lease_seconds=60)
    await lasting.register(B)

    async with contextlib.aclosing(connect().watch()) as pictures:
        await heard_until(pictures, {"b": B})


async def test_publishers_are_seen_as_long_as_they_say_so_and_are_no_nodes(etcd, connect):
    mortal, lasting = connect(1, EtcdPublishers), connect(60, EtcdPublishers)
    await mortal.register("p")
    await lasting.register("q")

    async with contextlib.aclosing(connect(60, EtcdPublishers).watch()) as pictures:
        assert await heard(pictures) == {"p", "q"}
        await heard_until(pictures, {"q"})
        await mortal.register("p")
        assert await heard(pictures) == {"p", "q"}
        await lasting.leave()
        await heard_until(pictures, {"p"})
    async with contextlib.aclosing(connect().watch()) as nodes:
        assert await heard(nodes) == {}


async def test_a_lease_that_is_over_is_replaced(etcd, connect):
    registry = connect()
    await registry.register(A)
    leases = etcd.ask("Lease", "LeaseLeases", rpc.LeaseLeasesRequest()).leases
    for lease in leases:
        etcd.ask("Lease", "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease.ID))

    async with contextlib.aclosing(connect().watch()) as pictures:
        assert await heard(pictures) == {}
        await registry.register(A)
        assert await heard(pictures) == {"a": A}


async def test_what_somebody_removed_is_said_again_only_if_asked_to(etcd, url, connect):
    registry = connect()
    await registry.register(A)
    etcd.ask("KV", "DeleteRange", rpc.DeleteRangeRequest(key=url.nodes_prefix + b"a"))

    await registry.register(A)
    async with contextlib.aclosing(connect().watch()) as pictures:
        assert await heard(pictures) == {}
        await registry.register(A, again=True)
        assert await heard(pictures) == {"a": A}


async def test_another_living_node_with_the_same_id_is_refused(connect):
    second = dataclasses.replace(A, node=Node(id="a", address="h:9"), incarnation="second")
    await connect().register(A)

    with pytest.raises(
        NodeIdTaken, match="node id a belongs to a living node at h:1, this one is at h:9: give this one"
    ):
        await connect().register(second)

    async with contextlib.aclosing(connect().watch()) as pictures:
        assert await heard(pictures) == {"a": A}


async def test_a_nodes_former_life_at_its_address_gives_way_and_does_not_take_the_place_back(connect):
    reborn = dataclasses.replace(A, incarnation="second", held={})
    former, now = connect(), connect()
    await former.register(A)

    await now.register(reborn)

    async with contextlib.aclosing(connect().watch()) as pictures:
        assert await heard(pictures) == {"a": reborn}
        with pytest.raises(NodeIdTaken):
            await former.register(A, again=True)
        # Its lease no longer decides about the place.
        await former.leave()
        await now.register(dataclasses.replace(reborn, bytes_used=1))
        assert await heard(pictures) == {"a": dataclasses.replace(reborn, bytes_used=1)}


async def test_a_registration_that_cannot_be_read_is_named_and_nobodys(etcd, url, connect):
    for node_id, value in (("a", b"{"), ("c", B.to_json())):
        etcd.ask("KV", "Put", rpc.PutRequest(key=url.nodes_prefix + node_id.encode(), value=value))

    with capture_logs() as logs:
        async with contextlib.aclosing(connect().watch()) as pictures:
            assert await heard(pictures) == {}
            await connect().register(A)
            assert await heard(pictures) == {"a": A}

    assert [(log["event"], log["node"]) for log in logs] == [
        ("registration cannot be used", "a"),
        ("registration of another node", "c"),
    ]


async def test_two_clusters_in_one_etcd_do_not_see_each_other(etcd, url, connect):
    await connect().register(A)
    connection = EtcdConnection(dataclasses.replace(url, name=url.name + "-2"), EtcdAccess())

    async with contextlib.aclosing(
        EtcdRegistry(connection, dataclasses.replace(url, name=url.name + "-2"), 60).watch()
    ) as pictures:
        assert await heard(pictures) == {}
    await connection.close()


async def test_an_etcd_that_comes_back_without_its_data_is_told_everything_again(tmp_path):
    with running_etcd(tmp_path / "data") as etcd:
        url = EtcdUrl(endpoints=(etcd.endpoint,), name="prod")
        connection = EtcdConnection(url, EtcdAccess())
        registry = EtcdRegistry(connection, url, 60)
        await registry.register(A)
        pictures = registry.watch()
        assert await heard(pictures) == {"a": A}
        etcd.kill()
        with pytest.raises(MapSourceFailed):
            await heard(pictures)
        etcd.lose_data()
        etcd.start()

        while True:
            with contextlib.suppress(MapSourceFailed):
                await registry.register(A)
                break

        async with contextlib.aclosing(registry.watch()) as pictures:
            assert await heard(pictures) == {"a": A}
        await connection.close()

"""The id of a cluster in a real etcd, and nodes that keep the same one, another or none."""

import asyncio
import contextlib

import pytest
from aetcd import rpc
from support.etcd import needs_etcd
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node
from store_server.cluster.agreement.etcd_access import EtcdAccess
from store_server.cluster.agreement.etcd_cluster_id import EtcdClusterId
from store_server.cluster.agreement.etcd_connection import EtcdConnection
from store_server.cluster.agreement.etcd_map_source import EtcdMapSource
from store_server.cluster.agreement.etcd_registry import EtcdRegistry
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.registry import ClusterNotOwn
from store_server.cluster.kept_cluster_id import KeptClusterId
from store_server.cluster.registration import NodeRegistration

pytestmark = needs_etcd
PATIENCE_SECONDS = 30
A = NodeRegistration(node=Node(id="a", address="h:1"), incarnation="first")


@pytest.fixture
async def connection(url):
    connection = EtcdConnection(url, EtcdAccess())
    yield connection
    await connection.close()


@pytest.fixture
def node(connection, url, tmp_path):
    """What a node of a data root keeps, and what it does in etcd."""

    class Node:
        def __init__(self, root):
            self.root = tmp_path / root
            self.kept = KeptClusterId(self.root)
            self.id = EtcdClusterId(connection, url, self.kept)
            self.source = EtcdMapSource(connection, url, self.id)
            self.registry = EtcdRegistry(connection, url, 60, self.id)

        @property
        def id_on_disk(self):
            return KeptClusterId(self.root).value

    return Node


@pytest.fixture
async def begun(connection, url):
    """A cluster with a map, of a release that draws no ids."""
    first = shard_map_of(cluster=url.name)
    await EtcdMapSource(connection, url).compare_and_swap(0, first)
    return first


def delete(etcd, key):
    etcd.ask("KV", "DeleteRange", rpc.DeleteRangeRequest(key=key))


async def value_at(connection, key):
    found = (await connection.range(key)).kvs
    return found[0].value.decode() if found else None


async def heard(maps):
    return await asyncio.wait_for(anext(maps), PATIENCE_SECONDS)


async def test_no_id_is_drawn_before_there_is_a_map(connection, url, node):
    a = node("a")

    await a.id.require_own()
    await a.registry.register(A)

    assert await value_at(connection, url.id_key) is None
    assert a.id_on_disk == ""


async def test_whoever_sees_the_first_map_knows_the_id_before_it(connection, url, node):
    a, b = node("a"), node("b")
    async with contextlib.aclosing(a.source.follow()) as of_a, contextlib.aclosing(b.source.follow()) as of_b:
        assert [await heard(of_a), await heard(of_b)] == [None, None]
        await a.source.compare_and_swap(0, shard_map_of(cluster=url.name))

        await heard(of_a)
        await heard(of_b)

    assert a.id_on_disk == b.id_on_disk == await value_at(connection, url.id_key)
    assert len(a.id_on_disk) == 32


async def test_nodes_that_draw_at_once_have_the_same(connection, url, node, begun):
    nodes = [node(str(number)) for number in range(8)]

    await asyncio.gather(*(each.id.require_own() for each in nodes))

    assert {each.id_on_disk for each in nodes} == {await value_at(connection, url.id_key)}


async def test_no_two_clusters_have_the_same(etcd, url, node, begun):
    a, b = node("a"), node("b")

    await a.id.require_own()
    delete(etcd, url.id_key)
    await b.id.require_own()

    assert a.kept.value != b.kept.value


async def test_an_etcd_that_lost_it_gets_it_back_before_anybody_draws_another(etcd, connection, url, node, begun):
    a = node("a")
    await a.id.require_own()
    delete(etcd, url.id_key)
    delete(etcd, url.map_key)

    await node("new").id.require_own()
    await a.id.require_own()

    assert await value_at(connection, url.id_key) == a.kept.value == a.id_on_disk


async def test_in_the_etcd_of_another_cluster_a_node_takes_no_map_and_leaves_no_trace(connection, url, node, begun):
    await node("own").id.require_own()
    stray = node("stray")
    stray.kept.take("that-of-the-other")
    before = await value_at(connection, url.id_key)

    async with contextlib.aclosing(stray.source.follow()) as maps:
        with pytest.raises(ClusterNotOwn) as refused:
            await heard(maps)
    with pytest.raises(ClusterNotOwn):
        await stray.registry.register(A)

    assert await value_at(connection, url.id_key) == before
    assert await value_at(connection, url.nodes_prefix + b"a") is None
    assert stray.id_on_disk == "that-of-the-other"
    said = str(refused.value)
    for named in (url.id_key.decode(), before, "that-of-the-other", str(stray.root), "map.json and id"):
        assert named in said


async def test_who_follows_is_refused_once_another_cluster_is_there(etcd, url, node, begun):
    a = node("a")
    async with contextlib.aclosing(a.source.follow()) as maps:
        assert await heard(maps) == begun
        etcd.ask("KV", "Put", rpc.PutRequest(key=url.id_key, value=b"another"))
        await a.source.compare_and_swap(1, later(begun))
        assert await heard(maps) == later(begun)  # as long as it follows the one that it began to follow

    async with contextlib.aclosing(a.source.follow()) as maps:
        with pytest.raises(ClusterNotOwn, match="this is cluster another"):
            await heard(maps)


@pytest.mark.parametrize("value", [b"", b"\xff", b"two words", b"a" * 101])
async def test_what_is_no_id_is_not_believed_and_named(etcd, url, node, begun, value):
    etcd.ask("KV", "Put", rpc.PutRequest(key=url.id_key, value=value))
    a = node("a")

    with pytest.raises(MapSourceFailed, match=f"{url.id_key.decode()}: .* is no id of a cluster"):
        await a.id.require_own()

    assert a.kept.value == ""

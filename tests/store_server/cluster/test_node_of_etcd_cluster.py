"""Nodes that agree upon their shard map in a real etcd, which is killed, restarted and emptied."""

import asyncio
import contextlib
import signal

import grpc
import pytest
from structlog.testing import capture_logs
from support.etcd import needs_etcd, running_etcd
from support.network import free_ports
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import from_message
from engram_store.v1 import cluster_service_pb2 as cluster
from engram_store.v1 import cluster_service_pb2_grpc as cluster_stubs
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import lookup_service_pb2_grpc as lookup_stubs
from store_server.cluster.agreement.registry import ClusterNotOwn, NodeIdTaken, RegistryRefuses
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.living_cluster import living_cluster
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import RootOfAnotherCluster

pytestmark = needs_etcd
ROWS = random_rows(100, 16)
PATIENCE_SECONDS = 60


@pytest.fixture
def etcd(tmp_path):
    with running_etcd(tmp_path / "etcd") as etcd:
        yield etcd


@pytest.fixture
def root_of(tmp_path):
    def root_of(node_id):
        root = tmp_path / node_id
        if not root.exists():
            write_table(root, "rows", ROWS)
        return root

    return root_of


@pytest.fixture
async def start(etcd, root_of):
    """Start nodes; those that are given a stack end with it."""
    async with contextlib.AsyncExitStack() as all_nodes:

        async def start(node_id, *, root="", stack=all_nodes, listen="127.0.0.1:0", user="", at=etcd, **settings):
            cluster_config = ClusterConfig(
                url=f"etcd://{user}{at.endpoint}/prod",
                node_id=node_id,
                **{"lease_seconds": 1, "lost_after_seconds": 30, "replicas": 1} | settings,
            )
            config = ServerConfig(root=root_of(root or node_id), listen=listen, cluster=cluster_config)
            node = await stack.enter_async_context(running(config))
            return await stack.enter_async_context(grpc.aio.insecure_channel(node.address))

        yield start


async def map_of(channel):
    """The map that a node knows, None for none."""
    try:
        response = await cluster_stubs.ClusterServiceStub(channel).GetShardMap(
            cluster.GetShardMapRequest(), timeout=PATIENCE_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        assert "does not know yet the shard map" in error.details()
        return None
    return from_message(response.map)


async def map_with(channel, *node_ids):
    """Wait until the map of a node has exactly these nodes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await map_of(channel)
            if found is not None and {node.id for node in found.nodes} == set(node_ids):
                return found


async def logged(logs, *parts):
    """Wait until one line of the log has all of these."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(all(part in str(log) for part in parts) for log in logs):
            await asyncio.sleep(0.05)


async def looks_up(channel):
    reply = await lookup_stubs.LookupServiceStub(channel).Lookup(
        lookup.LookupRequest(table="rows", rows=[7, 3]), timeout=PATIENCE_SECONDS
    )
    return reply.rows == ROWS[[7, 3]].tobytes()


async def test_a_cluster_begins_once_there_are_nodes_for_all_replicas_and_more_join(etcd, start):
    first = await start("a", replicas=2, labels={"zone": "z"}, capacity_bytes=1 << 20)

    assert await map_of(first) is None
    async with living_cluster(ClusterConfig(url=f"etcd://{etcd.endpoint}/prod", node_id="nobody")) as seen:
        assert "2 replicas need as many nodes, and 1 node is alive" in await seen.why_no_map()

    second = await start("b", replicas=2)
    begun = await map_with(first, "a", "b")
    assert (begun.cluster, begun.replicas, begun.sets) == ("prod", 2, {})
    assert await map_with(second, "a", "b") == begun

    third = await start("c", replicas=2)
    joined = await map_with(first, "a", "b", "c")
    assert joined.epoch > begun.epoch
    assert await map_with(third, "a", "b", "c") == joined
    node = next(node for node in joined.nodes if node.id == "a")
    assert (node.labels, node.capacity_bytes) == ({"zone": "z"}, 1 << 20)


async def test_while_etcd_is_dead_lookups_go_on_and_changes_of_the_map_wait(etcd, start):
    first = await start("a")
    before = await map_with(first, "a")

    etcd.kill()
    with capture_logs() as logs:
        second = await start("b")
        assert await looks_up(first)
        assert await looks_up(second)
        assert await map_of(first) == before
        assert await map_of(second) is None
    assert any("does not answer" in log.get("error", log["event"]) for log in logs)
    etcd.start()

    after = await map_with(first, "a", "b")
    assert after.epoch > before.epoch
    assert await map_with(second, "a", "b") == after
    assert await looks_up(first)


async def test_a_node_that_starts_while_etcd_is_dead_begins_with_the_map_it_knew(etcd, start):
    async with contextlib.AsyncExitStack() as stack:
        before = await map_with(await start("a", stack=stack), "a")
    etcd.kill()

    again = await start("a")

    assert await map_of(again) == before
    assert await looks_up(again)


async def test_an_etcd_that_lost_its_data_gets_the_map_back_and_the_nodes_with_it(etcd, start):
    first, second = await start("a"), await start("b")
    before = await map_with(first, "a", "b")
    etcd.kill()
    etcd.lose_data()
    etcd.start()

    # It knows nothing of the cluster before, and waits for those who do.
    third = await start("c", lease_seconds=10)

    after = await map_with(third, "a", "b", "c")
    assert after.epoch > before.epoch
    assert await map_with(first, "a", "b", "c") == after
    assert await map_with(second, "a", "b", "c") == after


async def test_a_second_node_with_the_same_id_does_not_start_and_the_first_stays(start, root_of, tmp_path):
    first = await start("a")
    before = await map_with(first, "a")

    with pytest.raises(NodeIdTaken, match="node id a belongs to a living node at 127"):
        await start("a", root="another root")

    assert await map_of(first) == before
    assert await looks_up(first)


async def test_a_killed_node_that_comes_back_at_its_address_takes_its_place_at_once(etcd, start, root_of):
    (port,) = free_ports(1)
    options = ("--cluster", f"etcd://{etcd.endpoint}/prod", "--node-id", "a", "--replicas", "1")
    async with contextlib.AsyncExitStack() as stack:
        await map_with(await start("a", stack=stack), "a")
    # A lease that would keep it out for an hour.
    options += ("--lease-seconds", "3600", "--lost-after", "4000", "--all-lost-after", "4000")
    with node_process(root_of("a"), *options, listen=f"127.0.0.1:{port}") as node:
        assert node.logged("event='shard map proposed and agreed'")
        node.stop(signal.SIGKILL)

    assert await map_with(await start("a", listen=f"127.0.0.1:{port}"), "a")


async def test_a_killed_node_that_comes_back_elsewhere_waits_for_its_old_lease(etcd, start, root_of):
    options = ("--cluster", f"etcd://{etcd.endpoint}/prod", "--node-id", "a", "--replicas", "1", "--lease-seconds", "1")
    with node_process(root_of("a"), *options) as node:
        assert node.logged("event='shard map proposed and agreed'")
        node.stop(signal.SIGKILL)

    assert await map_with(await start("a"), "a")


async def test_a_wrong_password_ends_the_start_with_a_clear_error(etcd, start, tmp_path):
    etcd.make_user("root", "right")
    password = tmp_path / "password"
    password.write_text("wrong")

    with pytest.raises(RegistryRefuses, match="authentication failed, invalid user ID or password"):
        await start("a", user="root@", password_file=password)

    password.write_text("right")
    assert await map_with(await start("a", user="root@", password_file=password), "a")


async def test_a_node_that_is_away_for_good_leaves_the_map(etcd, start, root_of):
    options = ("--cluster", f"etcd://{etcd.endpoint}/prod", "--node-id", "gone", "--lease-seconds", "1")
    first = await start("a", lost_after_seconds=1.5)
    await start("b", lost_after_seconds=1.5)
    with node_process(root_of("gone"), *options) as node:
        await map_with(first, "a", "b", "gone")
        node.stop(signal.SIGKILL)

        await map_with(first, "a", "b")


async def test_a_node_of_another_cluster_does_not_start_until_what_it_knew_is_removed(start, root_of):
    async with contextlib.AsyncExitStack() as stack:
        of_prod = await map_with(await start("a", stack=stack), "a")
    kept = root_of("a") / "cluster" / "map.json"
    kept.write_text(kept.read_text().replace('"prod"', '"elsewhere"'))

    with pytest.raises(
        RootOfAnotherCluster,
        match=f"of cluster 'elsewhere', --cluster names 'prod': .* remove map.json and id in {kept.parent}:",
    ):
        await start("a")
    kept.unlink()
    assert await map_with(await start("a"), "a") == of_prod


async def test_two_clusters_of_one_name_do_not_mix_whichever_map_is_newer(etcd, start, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        await map_with(await start("a", stack=stack), "a")
        at_first = await start("b", stack=stack)
        before = await map_with(at_first, "a", "b")

    with running_etcd(tmp_path / "other etcd") as other:
        async with contextlib.AsyncExitStack() as stack:
            own = await start("c", at=other, stack=stack)
            begun = await map_with(own, "c")
            assert begun.epoch < before.epoch  # so that a stray node would put the map that it knows in its place

            for stray in "ab":
                with pytest.raises(ClusterNotOwn, match=f"data root .*/{stray} belongs to another of that name"):
                    await start(stray, at=other)
            assert await map_of(own) == begun
            await start("d", at=other, stack=stack)
            await map_with(own, "c", "d")

    with pytest.raises(ClusterNotOwn):
        await start("c")
    await map_with(await start("a"), "a", "b")


async def test_a_node_whose_etcd_has_become_that_of_another_cluster_serves_by_the_map_it_knew(etcd, start, tmp_path):
    with running_etcd(tmp_path / "other etcd") as other:
        async with contextlib.AsyncExitStack() as stack:
            begun = await map_with(await start("c", at=other, stack=stack), "c")
    first = await start("a")
    before = await map_with(first, "a")
    etcd.kill()
    etcd.lose_data()
    etcd.take_data_of(other)

    with capture_logs() as logs:
        etcd.start()
        await logged(logs, "the node cannot register", "belongs to another of that name")
        await logged(logs, "the source of the shard map fails; the last map stays", "belongs to another of that name")

    assert await map_of(first) == before
    assert await looks_up(first)
    async with living_cluster(ClusterConfig(url=f"etcd://{etcd.endpoint}/prod", node_id="nobody")) as seen:
        assert await seen.shard_map() == begun
        assert await seen.living() == {}


async def test_of_several_workers_one_registers_the_node_and_all_know_the_map(etcd, start, root_of):
    options = ("--cluster", f"etcd://{etcd.endpoint}/prod", "--node-id", "a", "--workers", "2", "--replicas", "1")

    with node_process(root_of("a"), *options, "--lease-seconds", "1") as node:
        assert node.logged("event='shard map' worker=0 epoch=1 nodes=1 versions=0")
        assert node.logged("event='shard map' worker=1 epoch=1 nodes=1 versions=0")
        second = await start("b")
        shard_map = await map_with(second, "a", "b")

        assert next(each for each in shard_map.nodes if each.id == "a").address == node.address
        assert node.stop() == 0

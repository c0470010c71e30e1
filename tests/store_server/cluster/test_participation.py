"""When a node proposes a map, and when it must not: with a registry and a source that do as they are told."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node, Shard, ShardedVersion
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.known_map import KnownMap
from store_server.cluster.participation import Participation
from store_server.cluster.registration import NodeRegistration

A = NodeRegistration(node=Node(id="a", address="h:1"), incarnation="a")
B = NodeRegistration(node=Node(id="b", address="h:2"), incarnation="b")
WITH_BOTH = shard_map_of(A.node, B.node, cluster="prod")
PATIENCE_SECONDS = 30


class Publishers:
    """Who is publishing; `pictures` takes None for a failure."""

    def __init__(self):
        self.pictures = asyncio.Queue()
        self.pictures.put_nowait(frozenset())

    async def watch(self):
        while (picture := await self.pictures.get()) is not None:
            yield picture
        raise MapSourceFailed("away")


class World:
    """A registry, a source and a clock in one."""

    def __init__(self, tmp_path):
        self.seconds = 0.0
        self.looks = 0
        self.is_registry_up = True
        self.proposals = []
        self.pictures = asyncio.Queue()
        self.publishers = Publishers()
        self._looked = asyncio.Condition()
        config = ClusterConfig(
            url="etcd://h:1/prod", node_id="a", replicas=1, lost_after_seconds=20, retire_after_seconds=20
        )
        self.node = Participation(
            config, "prod", KnownMap(tmp_path), self, self, self.publishers, lambda: A, now=self._now
        )

    async def register(self, registration, *, again=False):
        if not self.is_registry_up:
            raise MapSourceFailed("away")
        self.registered = registration, again

    async def watch(self):
        while (picture := await self.pictures.get()) is not None:
            if isinstance(picture, Exception):
                raise picture
            yield picture
        raise MapSourceFailed("away")

    async def compare_and_swap(self, expected_epoch, shard_map):
        self.proposals.append((expected_epoch, shard_map))
        return True

    async def steps(self, found, number=2):
        """Let the node take steps, knowing that the source has `found`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(number):
                before = self.looks
                self.node.heard(found)
                while self.looks == before:
                    await asyncio.sleep(0.001)

    async def proposed(self):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.proposals:
                await asyncio.sleep(0.001)
        return self.proposals.pop(0)

    def _now(self):
        self.looks += 1
        return self.seconds


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    await world.node.join()
    running = world.running = asyncio.create_task(world.node.run())
    yield world
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_cluster_begins_only_after_others_had_the_time_to_put_its_map_back(world):
    world.pictures.put_nowait({"a": A})
    await world.steps(None)
    world.seconds = 9.0
    await world.steps(None)
    assert world.proposals == []

    world.seconds = 10.0
    world.node.heard(None)
    expected_epoch, shard_map = await world.proposed()

    assert (expected_epoch, shard_map.epoch, shard_map.nodes) == (0, 1, (A.node,))


async def test_a_node_that_is_away_is_lost_after_its_time(world):
    world.pictures.put_nowait({"a": A})
    empty = later(WITH_BOTH, versions={}, sets={})
    await world.steps(empty)
    assert world.proposals == []

    world.seconds = 10.0
    await world.steps(empty)
    world.seconds = 20.0
    world.node.heard(empty)

    assert (await world.proposed())[1].nodes == (A.node,)


async def test_it_is_logged_that_another_node_goes_away(world):
    with capture_logs() as logs:
        for present in ({"a": A, "b": B}, {"a": A}):
            world.pictures.put_nowait(present)
        await world.steps(OF_A)

    assert {"event": "another node is away", "node": "b", "log_level": "warning"} in logs


async def test_a_process_that_stood_still_proposes_nothing_by_what_it_saw_before(world):
    world.pictures.put_nowait({"a": A})
    empty = later(WITH_BOTH, versions={}, sets={})
    await world.steps(empty)

    world.is_registry_up = False  # as long as nothing new can be heard
    world.seconds = 25.0
    await world.steps(empty)
    world.pictures.put_nowait({"a": A, "b": B})
    await world.steps(empty)
    world.is_registry_up = True
    await world.steps(empty)

    assert world.proposals == []


async def test_nobody_is_lost_while_the_registry_cannot_be_seen(world):
    empty = later(WITH_BOTH, versions={}, sets={})
    world.pictures.put_nowait({"a": A})
    await world.steps(empty)

    world.pictures.put_nowait(None)
    await world.steps(empty, number=20)
    world.seconds = 1000.0
    await world.steps(empty, number=20)

    assert world.proposals == []


async def test_a_mistake_where_others_are_seen_lets_the_node_go_on_and_see_them_again(world):
    only_b = later(shard_map_of(B.node, cluster="prod"), versions={}, sets={})
    with capture_logs() as logs:
        world.pictures.put_nowait(OverflowError("infinity"))
        world.pictures.put_nowait({"a": A, "b": B})
        world.node.heard(only_b)

        assert (await world.proposed())[1].nodes == (B.node, A.node)

    assert not world.running.done()
    assert "it cannot be seen which nodes are alive" in [log["event"] for log in logs]


async def test_nobody_is_lost_while_the_node_cannot_register_itself(world):
    empty = later(WITH_BOTH, versions={}, sets={})
    world.pictures.put_nowait({"a": A})
    await world.steps(empty)

    world.is_registry_up = False
    world.node.holdings_changed()
    await world.steps(empty, number=100)
    world.seconds = 1000.0
    await world.steps(empty, number=20)

    assert world.proposals == []


RETIRED = ShardedVersion(
    table="layer-1", version="v0", num_rows=10, row_bytes=16, block_rows=10, shards=(Shard(end_row=10, holders=(0,)),)
)
OF_A = shard_map_of(A.node, cluster="prod")
ITS_VERSIONS = dict.fromkeys(OF_A.versions, ((0, 10),))
WITH_RETIRED = later(OF_A, versions={**OF_A.versions, RETIRED.key: RETIRED})


def holding_all(*read):
    held = {**ITS_VERSIONS, RETIRED.key: ((0, 1),)}
    return {"a": replace(A, held=held, read=frozenset(read))}


async def test_a_version_that_no_set_names_leaves_after_its_time_by_the_nodes_own_clock(world):
    world.pictures.put_nowait(holding_all())
    for world.seconds in (0.0, 10.0, 19.0):
        await world.steps(WITH_RETIRED, number=10)
    assert world.proposals == []

    world.seconds = 20.0
    world.node.heard(WITH_RETIRED)

    assert (await world.proposed())[1].versions == OF_A.versions


async def test_a_version_that_is_read_leaves_when_the_node_hears_that_it_is_not_any_more(world):
    world.pictures.put_nowait(holding_all(RETIRED.key))
    for world.seconds in (0.0, 10.0, 20.0, 30.0, 40.0):
        await world.steps(WITH_RETIRED, number=10)
    assert world.proposals == []

    world.pictures.put_nowait(holding_all())

    assert (await world.proposed())[1].versions == OF_A.versions


NEW = replace(RETIRED, version="v2")
PENDING = later(
    OF_A,
    versions={**OF_A.versions, NEW.key: NEW},
    sets={"model": replace(OF_A.sets["model"], pending={"layer-1": "v2"}, publisher="p", pending_complete=True)},
)


async def test_what_is_pending_is_dropped_when_its_publisher_is_not_seen_any_more(world):
    world.pictures.put_nowait({"a": replace(A, held={**ITS_VERSIONS, NEW.key: ((0, 1),)})})
    world.publishers.pictures.put_nowait({"p"})
    for world.seconds in (0.0, 10.0, 20.0, 30.0):
        await world.steps(PENDING, number=10)
    world.publishers.pictures.put_nowait(None)
    for world.seconds in (40.0, 50.0, 60.0):
        await world.steps(PENDING, number=10)
    assert world.proposals == []

    world.publishers.pictures.put_nowait(set())
    while not world.publishers.pictures.empty():
        await world.steps(PENDING)
    for world.seconds in (60.0, 70.0, 79.0):
        await world.steps(PENDING, number=10)
    assert world.proposals == []
    world.seconds = 80.0
    world.node.heard(PENDING)

    assert (await world.proposed())[1].sets == OF_A.sets


async def test_no_publisher_is_lost_while_the_node_cannot_register_itself(world):
    world.pictures.put_nowait({"a": replace(A, held={**ITS_VERSIONS, NEW.key: ((0, 1),)})})
    await world.steps(PENDING)

    world.is_registry_up = False
    world.node.holdings_changed()
    await world.steps(PENDING, number=100)
    world.seconds = 1000.0
    await world.steps(PENDING, number=20)
    world.is_registry_up, world.registered = True, None
    world.node.holdings_changed()
    while world.registered is None:
        await world.steps(PENDING)
    await world.steps(PENDING, number=20)

    assert world.proposals == []


async def test_a_map_that_would_be_too_large_is_complained_of_and_not_proposed(world):
    version = next(iter(OF_A.versions.values()))
    large = later(OF_A, versions={version.key: replace(version, source="x" * (1 << 20))})

    with capture_logs() as logs:
        world.pictures.put_nowait(holding_all() | {"b": B})
        await world.steps(large, number=20)

    assert world.proposals == []
    (said,) = [log["event"] for log in logs if "the shard map would have" in log["event"]]
    assert "at most 1,048,576 are possible" in said

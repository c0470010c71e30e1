"""What becomes of versions whose publisher fails, with a source of the map that does as it is told."""

import asyncio

import pytest
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.meeting_point import MeetingPoint
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.publication import LivingCluster
from store_server.cluster.registration import NodeRegistration
from store_server.storage.manifest import Manifest

A = Node(id="a", address="h:1")
KNOWN = shard_map_of(A, epoch=7)
MANIFEST = Manifest(
    num_rows=100,
    row_bytes=16,
    row_format="float32",
    fingerprint="fp",
    backend="mmap",
    data_bytes=1600,
    block_rows=10,
    block_digests=("0" * 32,) * 10,
)
PENDING = {"layer-1": MANIFEST.version}
PATIENCE_SECONDS = 30


class World:
    """A source and a registry in one. What it is sent it stores once it may, and then answers or fails."""

    def __init__(self):
        self.shard_map = KNOWN
        self.stored = []
        self.asked, self.may_store = asyncio.Event(), asyncio.Event()
        self.may_store.set()
        self.loses_answers = self.nodes_go_on = self.is_away_afterwards = self.is_overtaken = False
        self.is_up = True

    async def follow(self):
        if not self.is_up:
            raise MapSourceFailed("away")
        yield self.shard_map
        await asyncio.Event().wait()

    async def compare_and_swap(self, expected_epoch, shard_map):
        self.asked.set()
        await self.may_store.wait()
        if self.is_overtaken or expected_epoch != self.shard_map.epoch:
            self.shard_map = later(self.shard_map)
            return False
        self.shard_map = shard_map
        self.stored.append(dict(shard_map.sets["model"].pending))
        self.is_up = not self.is_away_afterwards
        if self.nodes_go_on:
            self.shard_map = later(shard_map)
        if self.loses_answers:
            self.loses_answers = False
            raise MapSourceFailed("the answer was lost")
        return True

    async def watch(self):
        yield {"a": NodeRegistration(node=A, incarnation="a")}

    @property
    def cluster(self):
        return LivingCluster(MeetingPoint(source=self, registry=self, close=self.close))

    async def publish(self, timeout=PATIENCE_SECONDS):
        await self.cluster.publish(
            "model", {"layer-1": MANIFEST}, source="file:///m", replicas=None, allow_change=False, timeout=timeout
        )

    async def close(self):
        """Nothing to close."""


async def test_what_was_stored_though_its_answer_was_lost_is_not_done_twice_or_called_a_failure():
    world = World()
    world.loses_answers = True

    assert (await world.cluster.change(later)).epoch == 8

    assert world.shard_map == later(KNOWN)


async def test_versions_are_taken_back_if_it_was_not_heard_that_they_are_pending():
    world = World()
    world.loses_answers = world.nodes_go_on = True

    with pytest.raises(MapSourceFailed, match=r"^the answer was lost$"):
        await world.publish()

    assert world.stored == [PENDING, {}]


async def test_versions_that_become_pending_while_the_publisher_is_told_to_stop_are_taken_back():
    world = World()
    world.may_store.clear()

    publishing = asyncio.create_task(world.publish())
    await asyncio.wait_for(world.asked.wait(), PATIENCE_SECONDS)
    publishing.cancel()
    await asyncio.wait([publishing], timeout=0)
    world.may_store.set()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(publishing, PATIENCE_SECONDS)
    assert world.stored == [PENDING, {}]


async def test_versions_that_nodes_do_not_fetch_in_time_are_taken_back():
    world = World()

    with pytest.raises(CannotPublish, match=r"after 0\.1 seconds the nodes hold 0 of 1,600 bytes"):
        await world.publish(timeout=0.1)

    assert world.stored == [PENDING, {}]


async def test_a_publisher_that_cannot_take_versions_back_says_that_they_may_become_current():
    world = World()
    world.is_away_afterwards = True

    with pytest.raises(MapSourceFailed, match="may still be pending, and become current once nodes hold all rows"):
        await world.publish(timeout=0.1)

    assert world.stored == [PENDING]


async def test_a_map_that_others_change_all_the_time_is_not_waited_for_without_end():
    world = World()
    world.is_overtaken = True

    with pytest.raises(MapSourceFailed, match="others have changed the shard map 100 times"):
        await asyncio.wait_for(world.publish(), PATIENCE_SECONDS)

    assert world.stored == []

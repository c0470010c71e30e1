"""How a node keeps registered, with a registry that does as it is told."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from engram_store.shard_map import Node
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.own_registration import OwnRegistration
from store_server.cluster.registration import NodeRegistration
from store_server.cluster.said_once import SaidOnce

A = NodeRegistration(node=Node(id="a", address="h:1"), incarnation="a")
PATIENCE_SECONDS = 30


class World:
    """A registry, and what the node says of itself."""

    def __init__(self, **settings):
        self.is_up, self.says, self.seen = True, A, A
        self.taken = asyncio.Queue()
        self.disk_answers = threading.Event()
        self.disk_answers.set()
        config = ClusterConfig(url="etcd://h:1/prod", node_id="a", **settings)
        self.registration = OwnRegistration(
            config, self, self._describe, lambda _: self.seen, SaidOnce(), now=time.monotonic
        )

    def _describe(self):
        assert self.disk_answers.wait(PATIENCE_SECONDS)
        return self.says

    async def register(self, registration, *, again=False):
        self.taken.put_nowait((registration, again))
        if not self.is_up:
            raise MapSourceFailed("away")

    async def next_taken(self):
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.taken.get()


@pytest.fixture
def kept():
    """Keep a node registered as long as the test lasts."""
    tasks = []

    def keep(world):
        tasks.append(asyncio.create_task(world.registration.keep()))

    yield keep
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize(
    "settings",
    [
        {
            "lease_seconds": 3600,
            "lost_after_seconds": 4000,
            "all_lost_after_seconds": 4000,
            "retire_after_seconds": 0.1,
        },
        {"lease_seconds": 1},
    ],
)
async def test_it_says_who_reads_what_before_a_version_could_leave_and_renews_its_lease_in_time(kept, settings):
    world = World(**settings)
    kept(world)

    for _ in range(2):
        assert await world.next_taken() == (A, False)


async def test_it_registers_at_once_when_it_begins_to_keep_the_node_registered(kept):
    world = World(lease_seconds=3600, lost_after_seconds=4000, all_lost_after_seconds=4000, retire_after_seconds=3600)
    kept(world)

    assert await world.next_taken() == (A, False)


async def test_what_changes_is_said_at_once_and_again_where_others_see_something_else(kept):
    world = World(lease_seconds=3600, lost_after_seconds=4000, all_lost_after_seconds=4000, retire_after_seconds=3600)
    kept(world)
    world.says = replace(A, bytes_used=7)
    world.registration.changed()

    assert await world.next_taken() == (world.says, True)
    world.seen = world.says
    world.registration.changed()
    assert await world.next_taken() == (world.says, False)


async def test_the_lease_is_renewed_while_a_disk_does_not_answer_and_what_it_says_then_is_told_at_once(kept):
    world = World(lease_seconds=1)
    await world.registration.begin()
    assert await world.next_taken() == (A, False)
    world.disk_answers.clear()
    world.says = replace(A, bytes_used=7)

    kept(world)
    for _ in range(3):
        assert await world.next_taken() == (A, False)
    world.disk_answers.set()

    while (taken := await world.next_taken()) == (A, False):
        pass
    assert taken == (world.says, True)
    assert world.registration.is_valid


async def test_it_is_valid_while_the_registry_takes_it(kept):
    world = World(lease_seconds=1)
    await world.registration.begin()
    assert world.registration.is_valid

    world.is_up = False
    kept(world)
    await world.next_taken()
    await world.next_taken()
    await world.next_taken()

    assert not world.registration.is_valid

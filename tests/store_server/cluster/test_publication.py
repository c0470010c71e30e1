"""When a publisher switches, and what becomes of its versions if it fails, with a source that does as it is told."""

import asyncio
from dataclasses import replace

import pytest
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node, TableSet, VersionKey
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.meeting_point import MeetingPoint
from store_server.cluster.living_cluster import LivingCluster
from store_server.cluster.next_map.pending_versions import without_pending_of
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.next_map.removed_tables import without_tables
from store_server.cluster.next_map.set_switch import switched
from store_server.cluster.publication import publish
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


class Publishers:
    """Takes note of who says that it lives; `is_up` tells whether it can be told."""

    def __init__(self):
        self.present, self.told = set(), asyncio.Event()
        self.is_up = True

    async def register(self, publisher):
        self.told.set()
        if not self.is_up:
            raise MapSourceFailed("away")
        self.present.add(publisher)

    async def leave(self):
        self.present.clear()


class World:
    """A source and a registry in one. What it is sent it stores once it may, and then answers or fails."""

    def __init__(self):
        self.shard_map = KNOWN
        self.stored = []
        self.publishers = Publishers()
        self.asked, self.may_store, self.changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_store.set()
        self.loses_answers = self.nodes_go_on = self.is_away_afterwards = False
        self.times_overtaken = 0
        self.is_up = self.has_nodes = True
        self.disk_failure = ""

    async def follow(self):
        seen = None
        while True:
            if not self.is_up:
                raise MapSourceFailed("away")
            if self.shard_map is seen:
                await self.changed.wait()
            else:
                seen = self.shard_map
                self.changed.clear()
                yield seen

    async def compare_and_swap(self, expected_epoch, shard_map):
        self.asked.set()
        await self.may_store.wait()
        if self.times_overtaken or expected_epoch != self.shard_map.epoch:
            self.times_overtaken -= 1
            self.say(later(self.shard_map))
            return False
        self.say(shard_map)
        self.stored.append(dict(shard_map.sets["model"].pending))
        self.is_up = not self.is_away_afterwards
        if self.nodes_go_on:
            self.say(later(shard_map))
        if self.loses_answers:
            self.loses_answers = False
            raise MapSourceFailed("the answer was lost")
        return True

    def say(self, shard_map):
        """Have a map stored, by whomever."""
        self.shard_map = shard_map
        self.changed.set()

    async def pending(self):
        """Return the set once something is pending in it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.shard_map.sets["model"].pending:
                await asyncio.sleep(0.001)
        return self.shard_map.sets["model"]

    def say_complete(self):
        """Have nodes say that they hold what is pending."""
        each = self.shard_map.sets["model"]
        (key,) = (VersionKey(*item) for item in each.pending.items())
        version = self.shard_map.versions[key]
        held = replace(version, shards=tuple(replace(shard, holders=(0,)) for shard in version.shards))
        sets = {"model": replace(each, pending_complete=True)}
        self.say(later(self.shard_map, versions={**self.shard_map.versions, key: held}, sets=sets))

    def say_nothing_pending(self):
        """Have nodes give up what is pending."""
        self.say(later(without_pending_of(self.shard_map, {self.shard_map.sets["model"].publisher})))

    async def watch(self):
        node = NodeRegistration(node=A, incarnation="a", disk_failure=self.disk_failure)
        yield {"a": node} if self.has_nodes else {}

    @property
    def cluster(self):
        return LivingCluster(
            MeetingPoint(
                where="here", source=self, registry=self, publishers=self.publishers, close=asyncio.Event().wait
            )
        )

    async def publish(self, timeout=PATIENCE_SECONDS, tables=("layer-1",), **options):
        return await publish(
            self.cluster,
            "model",
            dict.fromkeys(tables, MANIFEST),
            source="file:///m",
            replicas=None,
            allow_change=False,
            timeout=timeout,
            **options,
        )


async def begun(world, **options):
    """Return a publisher at work, once its versions are pending."""
    task = asyncio.create_task(world.publish(**options))
    await world.pending()
    return task


async def ended(task):
    return await asyncio.wait_for(task, PATIENCE_SECONDS)


async def test_a_publisher_that_gives_up_names_the_node_that_takes_no_more_rows_and_why():
    world = World()
    world.disk_failure = "cannot write to data root /d: Read-only file system"
    said = []

    with pytest.raises(CannotPublish) as failed:
        await world.publish(timeout=0.2, say=said.append, quiet_seconds=0.01)

    why = "node a takes no more rows: cannot write to data root /d: Read-only file system"
    assert str(failed.value).endswith(f"so the old ones stay; {why}")
    assert said == [why]


async def test_a_publisher_switches_once_nodes_hold_all_and_not_before():
    world = World()

    task = await begun(world)
    world.say(later(world.shard_map))
    await asyncio.wait([task], timeout=0.05)
    assert world.stored == [PENDING]
    world.say_complete()
    await ended(task)

    assert world.stored == [PENDING, {}]
    each = world.shard_map.sets["model"]
    assert each == TableSet(name="model", current=PENDING, previous=KNOWN.sets["model"].current)


async def test_whether_anything_was_to_be_made_current_is_told():
    world = World()

    task = await begun(world)
    world.say_complete()

    assert await ended(task) is True
    assert await world.publish() is False


async def test_while_nothing_moves_a_publisher_says_once_that_a_node_is_away_which_is_to_fetch():
    world, said, heard = World(), [], asyncio.Event()
    world.shard_map = shard_map_of(A, Node(id="b", address="h:2"), epoch=7)

    def say(reason):
        said.append(reason)
        heard.set()

    task = await begun(world, say=say, quiet_seconds=0.01)
    found = world.shard_map
    key = VersionKey("layer-1", MANIFEST.version)
    shards = tuple(replace(shard, holders=(), joining=(1,)) for shard in found.versions[key].shards)
    world.say(later(found, versions={**found.versions, key: replace(found.versions[key], shards=shards)}))
    await asyncio.wait_for(heard.wait(), PATIENCE_SECONDS)
    await asyncio.wait([task], timeout=0.05)
    world.say_complete()
    await ended(task)

    assert said == ["waiting for b, which is away: its part goes to others --lost-after after its death"]


async def test_a_publisher_that_comes_before_the_first_node_waits_a_moment_for_it():
    world, heard = World(), asyncio.Event()
    first, world.shard_map, world.has_nodes = world.shard_map, None, False

    task = asyncio.create_task(world.publish(say=lambda _: heard.set(), quiet_seconds=0.01))
    await asyncio.wait_for(heard.wait(), PATIENCE_SECONDS)
    world.has_nodes = True
    world.say(first)
    await world.pending()
    world.say_complete()

    await ended(task)
    assert world.stored[-1] == {}


async def test_a_publisher_that_waits_for_the_first_map_says_why_there_is_none():
    world, heard = World(), asyncio.Queue()
    first, world.shard_map = world.shard_map, None

    task = asyncio.create_task(world.publish(say=heard.put_nowait, quiet_seconds=0.01))

    said = await asyncio.wait_for(heard.get(), PATIENCE_SECONDS)
    assert (
        said == "here has no shard map yet: 1 node is alive, and the first map comes some ten seconds after they began"
    )
    world.say(first)
    await world.pending()
    world.say_complete()
    await ended(task)


async def test_a_publisher_is_seen_as_long_as_it_publishes():
    world = World()

    task = await begun(world)
    assert world.publishers.present == {world.shard_map.sets["model"].publisher}
    world.publishers.present.clear()
    world.publishers.told.clear()
    world.publishers.is_up = False
    await asyncio.wait_for(world.publishers.told.wait(), PATIENCE_SECONDS)
    world.publishers.is_up = True
    world.publishers.told.clear()
    await asyncio.wait_for(world.publishers.told.wait(), PATIENCE_SECONDS)
    assert world.publishers.present == {world.shard_map.sets["model"].publisher}
    world.say_complete()
    await ended(task)

    assert world.publishers.present == set()


async def test_nothing_is_pending_of_a_publisher_whom_nodes_could_not_see():
    world = World()
    world.publishers.is_up = False

    with pytest.raises(MapSourceFailed, match="^away$"):
        await world.publish()

    assert world.stored == []


async def test_a_publisher_whose_versions_were_given_up_says_so_and_switches_nothing():
    world = World()

    task = await begun(world)
    world.say_complete()
    world.say_nothing_pending()

    with pytest.raises(CannotPublish, match="were given up, and nothing has become current: nodes did not see this"):
        await ended(task)

    assert world.stored == [PENDING]
    assert world.shard_map.sets == KNOWN.sets


async def test_a_publisher_of_whose_tables_one_was_removed_takes_back_the_others():
    world = World()
    task = await begun(world, tables=("layer-1", "layer-2"))
    world.say(without_tables(world.shard_map, "model", ["layer-2"]))

    with pytest.raises(CannotPublish, match="were given up, .* or somebody has published or removed tables of the set"):
        await ended(task)
    assert world.shard_map.sets == KNOWN.sets


async def test_a_publisher_whose_versions_gave_way_to_others_leaves_those_alone():
    world = World()
    others = {"layer-1": "v1"}

    task = await begun(world)
    each = replace(world.shard_map.sets["model"], pending=others, publisher="other")
    world.say(later(world.shard_map, sets={"model": each}))

    with pytest.raises(CannotPublish, match="somebody else has published other versions of set 'model' meanwhile"):
        await ended(task)
    assert world.shard_map.sets["model"].pending == others


async def test_a_switch_of_which_no_answer_came_is_found_to_be_stored():
    world = World()

    task = await begun(world)
    world.loses_answers = True
    world.say_complete()
    await ended(task)

    assert world.stored == [PENDING, {}]
    assert world.shard_map.sets["model"].current == PENDING


async def test_a_switch_that_could_not_be_stored_is_tried_again_while_the_versions_are_pending():
    world = World()

    task = await begun(world)
    world.times_overtaken = 3
    world.say_complete()
    await ended(task)

    assert world.stored == [PENDING, {}]


async def test_a_switch_stored_when_the_time_is_over_is_no_failure():
    world = World()
    task = asyncio.create_task(world.publish(timeout=0.2))
    each = await world.pending()
    world.may_store.clear()
    world.asked.clear()
    world.say_complete()
    await asyncio.wait_for(world.asked.wait(), PATIENCE_SECONDS)

    done = switched(world.shard_map, "model", PENDING, each.publisher)
    await asyncio.wait([task], timeout=0)
    world.shard_map = done  # what was sent is stored, and the publisher's time ends before it hears of it

    await asyncio.wait_for(task, PATIENCE_SECONDS)
    assert world.shard_map is done


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


async def test_a_publisher_that_cannot_take_versions_back_says_what_becomes_of_them():
    world = World()
    world.is_away_afterwards = True

    with pytest.raises(MapSourceFailed, match="may still be pending, until nodes have not seen this command"):
        await world.publish(timeout=0.1)

    assert world.stored == [PENDING]


async def test_a_map_that_others_change_all_the_time_is_not_waited_for_without_end():
    world = World()
    world.times_overtaken = 1000

    with pytest.raises(MapSourceFailed, match="others have changed the shard map 100 times"):
        await asyncio.wait_for(world.publish(), PATIENCE_SECONDS)

    assert world.stored == []

"""A cluster as it is seen and changed by somebody who is no node of it. Every wait has a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.meeting_point import meeting_point_at
from store_server.cluster.next_map.previous_versions import forgotten, rolled_back
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.next_map.removed_tables import no_more_named, without_tables
from store_server.counted import counted, is_or_are

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap, VersionKey
    from store_server.cluster.agreement.meeting_point import MeetingPoint
    from store_server.cluster.agreement.registry import PublisherRegistry
    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.registration import NodeRegistration

_Answer = TypeVar("_Answer")
_FIRST_NODE_SECONDS: Final = 5.0  # nodes that were started a moment before
_PAUSE_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 20.0  # of the source of the map
_MOST_ATTEMPTS: Final = 100
_IS_FILE: Final = "the map of this cluster is a file: who writes that file says what is current"


@asynccontextmanager
async def living_cluster(config: ClusterConfig) -> AsyncIterator[LivingCluster]:
    """Be in touch with a cluster as long as the block lasts. Raises ValueError for a URL that names none."""
    meeting = meeting_point_at(config)
    try:
        yield LivingCluster(meeting)
    finally:
        await meeting.close()


class LivingCluster:
    """A cluster, seen by somebody who is no node of it. Raises CannotPublish, MapSourceFailed."""

    def __init__(self, meeting: MeetingPoint) -> None:
        """Use `living_cluster`."""
        self._meeting = meeting

    @property
    def has_registry(self) -> bool:
        """Whether nodes register: not where the map is a file."""
        return self._meeting.registry is not None

    @property
    def publishers(self) -> PublisherRegistry:
        """Where those register who publish. Raises CannotPublish."""
        if self._meeting.publishers is None:
            raise CannotPublish(_IS_FILE)
        return self._meeting.publishers

    async def shard_map(self) -> ShardMap:
        """Return the map as it is now."""
        async with aclosing(self._meeting.source.follow()) as maps:  # type: ignore[type-var]  # it is a generator
            found = await _in_time(anext(maps))
        if found is None:
            raise CannotPublish(await self.why_no_map())
        return found

    async def why_no_map(self) -> str:
        """Return in a sentence what a first map may wait for."""
        if not self.has_registry:
            return f"there is no shard map at {self._meeting.where}"
        return absence_of_map(self._meeting.where, (await self.living()).values())

    async def maps(self) -> AsyncGenerator[ShardMap, None]:
        """Yield the map as it is now, and each that follows, without end; a source that fails is asked again."""
        while True:
            try:
                async with aclosing(self._meeting.source.follow()) as maps:  # type: ignore[type-var]  # as above
                    async for found in maps:
                        if found is not None:
                            yield found
            except MapSourceFailed:  # nodes go on meanwhile
                await asyncio.sleep(_PAUSE_SECONDS)

    async def living(self) -> Mapping[str, NodeRegistration]:
        """Return what the nodes say that are registered now, by id."""
        registry = self._meeting.registry
        if registry is None:
            raise CannotPublish(_IS_FILE)
        async with aclosing(registry.watch()) as pictures:
            return await _in_time(anext(pictures))

    async def living_publishers(self) -> Collection[str]:
        """Return who is registered as publishing now."""
        async with aclosing(self.publishers.watch()) as pictures:
            return await _in_time(anext(pictures))

    async def until_begun(self, seconds: float) -> None:
        """Wait for the first map of a cluster that is just beginning; for its first node only a moment."""
        await self.living()  # raises where the map is somebody else's
        for limit in (min(seconds, _FIRST_NODE_SECONDS), seconds):
            with suppress(TimeoutError):
                async with asyncio.timeout(limit), aclosing(self.maps()) as maps:
                    await anext(maps)
                    return
            if not await self.living():
                return

    async def roll_back(self, set_name: str) -> Mapping[str, str]:
        """Make the previous versions of a set current; returns them by table."""
        await self.living()  # raises where the map is somebody else's
        return (await self.change(lambda known: rolled_back(known, set_name))).sets[set_name].current

    async def forget(self, set_name: str) -> Mapping[str, str]:
        """Let a set have no previous versions any more; returns those that it had, by table."""
        await self.living()  # raises where the map is somebody else's
        had: Mapping[str, str] = {}

        def forget(known: ShardMap) -> ShardMap:
            nonlocal had
            following = forgotten(known, set_name)
            had = known.sets[set_name].previous
            return following

        await self.change(forget)
        return had

    async def unpublish(self, set_name: str, tables: Sequence[str]) -> Mapping[VersionKey, int]:
        """Take tables out of a set, all if none are named; returns their versions, and the bytes of each on nodes."""
        await self.living()  # raises where the map is somebody else's
        removed: Mapping[VersionKey, int] = {}

        def remove(known: ShardMap) -> ShardMap:
            nonlocal removed
            following = without_tables(known, set_name, tables)
            removed = no_more_named(known, following)
            return following

        await self.change(remove)
        return removed

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        """See MapSource.compare_and_swap."""
        return await self._meeting.source.compare_and_swap(expected_epoch, shard_map)

    async def change(self, change: Callable[[ShardMap], ShardMap]) -> ShardMap:
        """Store what `change` makes of the map, again if others were faster. Returns what is there then.

        A change that returns the map that it was given leaves it.
        """
        for _ in range(_MOST_ATTEMPTS):
            known = await self.shard_map()
            following = change(known)
            if following is known:
                return known
            try:
                is_stored = await self.compare_and_swap(known.epoch, following)
            except MapSourceFailed:
                if await self.shard_map() != following:
                    raise
                is_stored = True  # only the answer was lost
            if is_stored:
                return following
        raise MapSourceFailed(f"others have changed the shard map {_MOST_ATTEMPTS} times in between: try again")


def absence_of_map(where: str, living: Collection[NodeRegistration]) -> str:
    """Return in a sentence why there is no map of the cluster at `where`, given what its nodes say of themselves."""
    if not living:
        return f"no node is registered in {where}, and it has no shard map: is the name right, do its nodes run?"
    needed = max(each.replicas for each in living)
    are_there = f"{counted(len(living), 'node')} {is_or_are(len(living))}"
    if len(living) < needed:
        return f"{where} has no shard map yet: {needed} replicas need as many nodes, and {are_there} alive"
    return f"{where} has no shard map yet: {are_there} alive, and the first map comes some ten seconds after they began"


async def _in_time(answer: Awaitable[_Answer]) -> _Answer:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await answer
    except TimeoutError:
        raise MapSourceFailed(f"the source of the shard map gave no answer in {_ANSWER_SECONDS:g} seconds") from None

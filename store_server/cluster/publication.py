"""Changes the shard map of a living cluster as a publisher does, and waits for what follows. Every wait has a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.meeting_point import meeting_point_at
from store_server.cluster.next_map.previous_versions import forgotten, rolled_back
from store_server.cluster.next_map.publishing import (
    CannotPublish,
    bytes_held,
    is_current,
    is_pending,
    with_pending,
    without_pending,
)

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap
    from store_server.cluster.agreement.meeting_point import MeetingPoint
    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.registration import NodeRegistration
    from store_server.storage import Manifest

_Answer = TypeVar("_Answer")
_PAUSE_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 20.0  # of the source of the map
_MOST_ATTEMPTS: Final = 100
_BEGIN_SECONDS: Final = 30.0  # nodes of a new cluster first wait a while for a map that others may have


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

    async def shard_map(self) -> ShardMap:
        """Return the map as it is now."""
        async with aclosing(self._meeting.source.follow()) as maps:  # type: ignore[type-var]  # it is a generator
            found = await _in_time(anext(maps))
        if found is None:
            raise CannotPublish("the cluster has no shard map yet: as many nodes must run as there are replicas")
        return found

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
            raise CannotPublish("the map of this cluster is a file: who writes that file says what is current")
        async with aclosing(registry.watch()) as pictures:
            return await _in_time(anext(pictures))

    async def publish(
        self,
        set_name: str,
        manifests: Mapping[str, Manifest],
        *,
        source: str,
        replicas: int | None,
        allow_change: bool,
        timeout: float,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """Make versions current, together. Returns once they are; `progress` hears of bytes held and to be held.

        If it does not come to that within `timeout` seconds, or this is cancelled, they are pending no more; who cannot
        see to that says so by MapSourceFailed. Nodes need nobody's word to make pending versions current: after the
        death of this process they do so, if they can have all rows from each other or from `source`.
        """
        versions = {table: manifest.version for table, manifest in manifests.items()}
        await self._until_begun(min(timeout, _BEGIN_SECONDS))
        living = (await self.living()).keys()

        def pending(known: ShardMap) -> ShardMap:
            return with_pending(
                known,
                set_name,
                manifests,
                source=source,
                living=living,
                replicas=replicas,
                allow_change=allow_change,
            )

        beginning = asyncio.create_task(self.change(pending))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(beginning)
                await self._until_current(set_name, versions, progress)
        except TimeoutError:
            raise CannotPublish(await self._give_up(beginning, set_name, versions, timeout)) from None
        except (MapSourceFailed, asyncio.CancelledError):
            await asyncio.shield(self._take_back(beginning, set_name, versions))
            raise

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

    async def change(self, change: Callable[[ShardMap], ShardMap | None]) -> ShardMap:
        """Store what `change` makes of the map, again if others were faster. Returns what is there then.

        A change that returns None, or the map that it was given, leaves it.
        """
        for _ in range(_MOST_ATTEMPTS):
            known = await self.shard_map()
            following = change(known)
            if following is None or following is known:
                return known
            try:
                is_stored = await self._meeting.source.compare_and_swap(known.epoch, following)
            except MapSourceFailed:
                if await self.shard_map() != following:
                    raise
                is_stored = True  # only the answer was lost
            if is_stored:
                return following
        raise MapSourceFailed(f"others have changed the shard map {_MOST_ATTEMPTS} times in between: try again")

    async def _until_begun(self, seconds: float) -> None:
        """Wait for the first map of a cluster that is just beginning, if nodes of it are there."""
        if await self.living():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds), aclosing(self.maps()) as maps:
                    await anext(maps)

    async def _until_current(
        self, set_name: str, versions: Mapping[str, str], progress: Callable[[int, int], None]
    ) -> None:
        async with aclosing(self.maps()) as maps:
            async for found in maps:
                progress(*bytes_held(found, versions))
                if is_current(found, set_name, versions):
                    return
                if not is_pending(found, set_name, versions):
                    raise CannotPublish(f"somebody else has published other versions of set {set_name!r} meanwhile")

    async def _give_up(
        self, beginning: asyncio.Task[ShardMap], set_name: str, versions: Mapping[str, str], seconds: float
    ) -> str:
        """Take pending versions back; returns what is to be said of that."""
        before = await self._take_back(beginning, set_name, versions)
        held, wanted = bytes_held(before, versions)
        return (
            f"after {seconds:g} seconds the nodes hold {held:,} of {wanted:,} bytes of the new versions of set "
            f"{set_name!r}, so the old ones stay; the nodes' logs say what they wait for"
        )

    async def _take_back(
        self, beginning: asyncio.Task[ShardMap], set_name: str, versions: Mapping[str, str]
    ) -> ShardMap:
        """Let versions be pending no more, also if nobody heard that they are; returns the map as it was before."""
        await asyncio.wait([beginning])  # what was sent may be stored until then
        before: list[ShardMap] = []

        def without(known: ShardMap) -> ShardMap | None:
            before.append(known)
            return without_pending(known, set_name, versions)

        try:
            await self.change(without)
        except MapSourceFailed as error:
            raise MapSourceFailed(
                f"{error}; so the new versions of set {set_name!r} may still be pending, and become current once nodes "
                "hold all rows: `engram-store cluster` shows it, and the next `publish` of the set replaces them"
            ) from error
        return before[-1]


async def _in_time(answer: Awaitable[_Answer]) -> _Answer:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await answer
    except TimeoutError:
        raise MapSourceFailed(f"the source of the shard map gave no answer in {_ANSWER_SECONDS:g} seconds") from None

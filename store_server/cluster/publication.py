"""Gives new versions to the nodes of a living cluster, and makes them current. Every wait has a limit."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.next_map.pending_versions import bytes_held, is_current, is_pending, without_pending_of
from store_server.cluster.next_map.publishing import CannotPublish, NotEnoughRoom, with_pending
from store_server.cluster.next_map.set_switch import switched
from store_server.cluster.publisher_presence import seen_by_nodes
from store_server.cluster.standstill import disks_that_fail, reasons_said, whom_it_waits_for

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap
    from store_server.cluster.living_cluster import LivingCluster
    from store_server.storage import Manifest

_PAUSE_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 3.0
_BEGIN_SECONDS: Final = 30.0  # nodes of a new cluster first wait a while for a map that others may have


async def publish(
    cluster: LivingCluster,
    set_name: str,
    manifests: Mapping[str, Manifest],
    *,
    source: str,
    replicas: int | None,
    allow_change: bool,
    timeout: float,
    progress: Callable[[int, int], None] = lambda *_: None,
    say: Callable[[str], None] | None = None,
    quiet_seconds: float = _QUIET_SECONDS,
    publisher: str = "",
) -> bool:
    """Make versions current, together. Returns once they are: False if they were before.

    `progress` hears of bytes held and to be held; `say` of what is waited for, where nothing moves for `quiet_seconds`.

    Only this makes them current, once nodes hold all of them. If it does not come to that within `timeout` seconds, or
    this is cancelled, they are pending no more; who cannot see to that says so by MapSourceFailed. Nodes drop them when
    they have not seen `publisher` for long, whether the process has died or was out of reach: that is its name, one
    that nobody had before; by default one at random. Raises CannotPublish, MapSourceFailed.
    """
    async with reasons_said(cluster.why_no_map, say, quiet_seconds):
        await cluster.until_begun(min(timeout, _BEGIN_SECONDS))
    nodes = await cluster.living()
    publisher = publisher or secrets.token_hex(8)
    versions = {table: manifest.version for table, manifest in manifests.items()}
    was_current = False

    def pending(known: ShardMap) -> ShardMap:
        nonlocal was_current
        was_current = is_current(known, set_name, versions)
        return with_pending(
            known,
            set_name,
            manifests,
            publisher=publisher,
            source=source,
            living=nodes.keys(),
            replicas=replicas,
            allow_change=allow_change,
        )

    async with seen_by_nodes(cluster.publishers, publisher):
        beginning = asyncio.create_task(cluster.change(pending))
        publication = _Publication(cluster, set_name, versions, publisher, beginning)
        try:
            async with asyncio.timeout(timeout), reasons_said(publication.what_it_waits_for, say, quiet_seconds):
                await asyncio.shield(beginning)
                if not was_current:
                    await publication.make_current(progress)
        except TimeoutError:
            await publication.give_up(timeout)
        except NotEnoughRoom as error:
            failing = disks_that_fail(nodes)
            raise CannotPublish(f"{error}; {failing}" if failing else str(error)) from error
        except CannotPublish:
            with suppress(MapSourceFailed):  # there is something to take back only where others have removed tables
                await publication.take_back()
            raise
        except (MapSourceFailed, asyncio.CancelledError):
            await asyncio.shield(publication.take_back())
            raise
    return not was_current


class _Publication:
    """Versions, by table, that are pending once `beginning` is done."""

    def __init__(
        self,
        cluster: LivingCluster,
        set_name: str,
        versions: Mapping[str, str],
        publisher: str,
        beginning: asyncio.Task[ShardMap],
    ) -> None:
        self._cluster = cluster
        self._set_name = set_name
        self._versions = versions
        self._publisher = publisher
        self._beginning = beginning
        self._newest: ShardMap | None = None
        self._held_before = 0
        self._failing = ""  # what was heard last of disks that fail; their nodes may be out of sight in the end

    async def make_current(self, progress: Callable[[int, int], None]) -> None:
        """Switch once nodes hold all that is pending; returns when it is current, whoever has seen to that."""
        while True:
            try:
                async with aclosing(self._cluster.maps()) as maps:
                    async for found in maps:
                        self._newest = found
                        progress(*bytes_held(found, self._versions))
                        if is_current(found, self._set_name, self._versions):
                            return
                        self._require_pending(found)
                        await self._switch(found)
            except MapSourceFailed:  # the map as it is then tells what became of the switch
                await asyncio.sleep(_PAUSE_SECONDS)

    async def what_it_waits_for(self) -> str:
        """Return why nodes hold no more than when this was asked before, "" if they do or nobody is to blame."""
        living = await self._cluster.living()
        self._failing = disks_that_fail(living) or self._failing
        if self._newest is None:
            return ""
        before, (self._held_before, _) = self._held_before, bytes_held(self._newest, self._versions)
        if self._held_before != before:
            return ""
        return whom_it_waits_for(self._newest, self._versions, living.keys()) or self._failing

    async def give_up(self, seconds: float) -> None:
        """Take back what did not become current in time, and say so by CannotPublish, unless it has just done so."""
        before = await self.take_back()
        if is_current(before, self._set_name, self._versions):
            return
        held, wanted = bytes_held(before, self._versions)
        with suppress(MapSourceFailed):
            self._failing = disks_that_fail(await self._cluster.living()) or self._failing
        why = self._failing or "the nodes' logs say what they wait for"
        raise CannotPublish(
            f"after {seconds:g} seconds the nodes hold {held:,} of {wanted:,} bytes of the new versions of set "
            f"{self._set_name!r}, so the old ones stay; {why}"
        )

    async def take_back(self) -> ShardMap:
        """Let them be pending no more, also if nobody heard that they are; returns the map as it was before."""
        await asyncio.wait([self._beginning])  # what was sent may be stored until then
        before: list[ShardMap] = []

        def without(known: ShardMap) -> ShardMap:
            before.append(known)
            following = without_pending_of(known, {self._publisher})
            return following if following is known else replace(following, epoch=known.epoch + 1)

        try:
            await self._cluster.change(without)
        except MapSourceFailed as error:
            raise MapSourceFailed(
                f"{error}; so the new versions of set {self._set_name!r} may still be pending, until nodes have not "
                "seen this command for a while (serve --lost-after) or the next `publish` of the set replaces them. "
                "They become current no more, unless they are by now: `engram-store cluster` shows it"
            ) from error
        return before[-1]

    async def _switch(self, found: ShardMap) -> None:
        """Make them current in this very map if they are complete. The next map tells whether that was so."""
        following = switched(found, self._set_name, self._versions, self._publisher)
        if following is not None:
            await self._cluster.compare_and_swap(found.epoch, following)

    def _require_pending(self, found: ShardMap) -> None:
        if is_pending(found, self._set_name, self._versions):
            return
        each = found.sets.get(self._set_name)
        if each is not None and each.pending and each.publisher != self._publisher:
            raise CannotPublish(f"somebody else has published other versions of set {self._set_name!r} meanwhile")
        raise CannotPublish(
            f"the new versions of set {self._set_name!r} were given up, and nothing has become current: nodes did not "
            "see this command for too long, as it stood still or could not reach etcd, or somebody has published or "
            "removed tables of the set meanwhile; publish again"
        )

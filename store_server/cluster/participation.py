"""A node's part in what becomes of the shard map: it registers, sees who else is there, and proposes the next map.

Every node does the same. Who is first stores its proposal by compare-and-swap, the others see it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Final, TypeVar

import structlog

from engram_store.shard_map import ShardMap
from store_server.cluster.agreement.map_source import MapSource, MapSourceFailed
from store_server.cluster.agreement.registry import PublisherRegistry, Registry
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.comings_and_goings import ComingsAndGoings
from store_server.cluster.known_map import KnownMap
from store_server.cluster.next_map.map_repair import repair
from store_server.cluster.next_map.map_steps import MapStep, first_map
from store_server.cluster.next_map.waiting import Over, Waiting
from store_server.cluster.own_registration import OwnRegistration, set_or_after
from store_server.cluster.registration import NodeRegistration
from store_server.cluster.said_once import SaidOnce

log = structlog.get_logger()
_Picture = TypeVar("_Picture")
_Situation = tuple[ShardMap | None, Mapping[str, NodeRegistration], Over]
"""The map that the source has, who is there, and whose time is over."""
_STEP_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 10.0
# From when a map is heard of until one that follows is proposed. At random, so that seldom two nodes propose at once;
# and so long that what that map was made from, which is told apart from it, has been heard by then: else a holder that
# has just arrived would be taken out of the map again.
_DELAY_SECONDS: Final = 0.1, 0.3


class Participation:
    """One node in the cluster `name`. `heard` and `source_failed` tell it what the source of maps has.

    `describe` returns what the node says of itself now, and may wait for a disk.
    """

    def __init__(
        self,
        config: ClusterConfig,
        name: str,
        known: KnownMap,
        source: MapSource,
        registry: Registry,
        publishers: PublisherRegistry,
        describe: Callable[[], NodeRegistration],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._name = name
        self._known = known
        self._source = source
        self._registry = registry
        self._publishers = publishers
        self._now = now
        self._said = SaidOnce()
        self._registration = OwnRegistration(config, registry, describe, self._seen_as, self._said, now=now)
        self._comings_and_goings = ComingsAndGoings(config.node_id)
        self._waiting = Waiting(config)
        self._in_source: ShardMap | None = None
        self._source_answers = False
        self._present: Mapping[str, NodeRegistration] | None = None  # None: it cannot be seen who is
        self._publishers_present: Collection[str] | None = None  # as above
        self._changed = asyncio.Event()
        self._settled: _Situation | None = None
        self._last_step = now()
        self._empty_since: float | None = None

    def heard(self, found: ShardMap | None) -> None:
        """Take note of what the source has."""
        self._in_source, self._source_answers = found, True
        self._changed.set()

    def source_failed(self) -> None:
        """Take note that nobody knows what the source has."""
        self._source_answers, self._empty_since = False, None

    @property
    def alive(self) -> Collection[str] | None:
        """The ids of the nodes that are registered, None if that cannot be seen; any thread may ask."""
        present = self._present
        return None if present is None or not self._registration.is_valid else present.keys()

    def holdings_changed(self) -> None:
        """Tell others at once what `describe` returns now."""
        self._registration.changed()

    async def join(self) -> None:
        """See OwnRegistration.begin."""
        await self._registration.begin()

    async def run(self) -> None:
        """Take part until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registration.keep())
            tasks.create_task(self._watch_others())
            tasks.create_task(self._watch_publishers())
            tasks.create_task(self._take_steps())

    def _seen_as(self, registration: NodeRegistration) -> NodeRegistration | None:
        """Return what others see of this node, as far as that can be seen."""
        return registration if self._present is None else self._present.get(registration.node.id)

    async def _watch_others(self) -> None:
        def see(present: Mapping[str, NodeRegistration] | None) -> None:
            self._present = present
            if present is not None:
                self._comings_and_goings.see(present.keys())

        await self._watch(self._registry.watch, see, "which nodes are alive")

    async def _watch_publishers(self) -> None:
        def see(present: Collection[str] | None) -> None:
            self._publishers_present = present

        await self._watch(self._publishers.watch, see, "which publishers are alive")

    async def _watch(
        self, watch: Callable[[], AsyncGenerator[_Picture, None]], see: Callable[[_Picture | None], None], what: str
    ) -> None:
        """Have each picture seen, and None while there is none."""
        while True:
            try:
                async with aclosing(watch()) as pictures:
                    async for picture in pictures:
                        see(picture)
                        self._said.say(what, "")
                        self._changed.set()
            except MapSourceFailed as error:
                self._said.say(what, f"it cannot be seen {what}: {error}")
            except Exception:  # a mistake of ours: without this node's own registration it would be worse
                log.exception(f"it cannot be seen {what}")
            see(None)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _take_steps(self) -> None:
        while True:
            await set_or_after(self._changed, _STEP_SECONDS)
            try:
                await self._take_step()
                self._said.say("proposal", "")
            except MapSourceFailed as error:
                self._said.say("proposal", f"the next shard map cannot be proposed: {error}")
            except Exception:  # a mistake of ours: without this task the cluster would never mend itself
                log.exception("the next shard map cannot be found")

    async def _take_step(self) -> None:
        self._notice_a_pause()
        if (before := self._look_around()) is None:
            return
        await asyncio.sleep(random.uniform(*_DELAY_SECONDS))  # noqa: S311  # nothing secret
        if (situation := self._look_around()) is None or situation[0] is not before[0]:
            return
        base, present, _ = situation
        proposal = repair(base, self._known.newest)
        if proposal is None and base is None and self._may_only_be_lost():
            return
        if proposal is None:
            step = await asyncio.to_thread(self._next, base, present)
            self._said.say("step", "; ".join(step.complaints))
            proposal = step.shard_map
        if proposal is None:
            self._settled = situation
        elif self._in_source is base and self._source_answers:
            await self._propose(base, proposal)

    def _look_around(self) -> _Situation | None:
        """Return what the node sees, if it sees all and another map may follow from it."""
        # A node that cannot renew its own lease does not see the others either, whatever it saw last.
        is_valid = self._registration.is_valid
        present, publishers = (self._present, self._publishers_present) if is_valid else (None, None)
        base = self._in_source
        self._waiting.look(base, present, publishers, self._now())
        if present is None or not self._source_answers:
            return None
        situation = (base, present, self._waiting.over(base, present))
        return None if situation == self._settled else situation

    def _notice_a_pause(self) -> None:
        """See nobody after the process stood still, until it is registered anew: all that it knows is old."""
        before, self._last_step = self._last_step, self._now()
        if self._last_step - before > _STEP_SECONDS + self._config.lease_seconds:
            self._registration.doubt()

    def _may_only_be_lost(self) -> bool:
        """Tell whether a map that is not there may be with others, who are about to come back and put it there."""
        if self._empty_since is None:
            self._empty_since = self._now()
        return self._now() - self._empty_since < min(self._config.lease_seconds, _LONGEST_WAIT_SECONDS)

    def _next(self, base: ShardMap | None, present: Mapping[str, NodeRegistration]) -> MapStep:
        if base is None:
            return first_map(self._name, self._config.replicas, present.values())
        return self._waiting.next_map(base, present)

    async def _propose(self, base: ShardMap | None, proposal: ShardMap) -> None:
        if await self._source.compare_and_swap(0 if base is None else base.epoch, proposal):
            log.info("shard map proposed and agreed", epoch=proposal.epoch)

"""A node's part in what becomes of the shard map: it registers, sees who else is there, and proposes the next map.

Every node does the same. Who is first stores its proposal by compare-and-swap, the others see it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Final

import structlog

from engram_store.shard_map import ShardMap
from store_server.cluster.away_clock import AwayClock
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.known_map import KnownMap
from store_server.cluster.lost_nodes import LossSettings, lost_nodes
from store_server.cluster.map_repair import repair
from store_server.cluster.map_source import MapSource, MapSourceFailed
from store_server.cluster.map_steps import MapStep, first_map, next_map
from store_server.cluster.registration import NodeRegistration
from store_server.cluster.registry import NodeIdTaken, Registry, RegistryRefuses
from store_server.storage import StorageError

log = structlog.get_logger()
_BEATS_A_LEASE: Final = 3
_STEP_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 10.0
_LONGEST_DELAY_SECONDS: Final = 0.3  # at random, so that seldom two nodes propose at once


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
        describe: Callable[[], NodeRegistration],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._name = name
        self._loss = LossSettings(
            lost_after_seconds=config.lost_after_seconds, all_lost_after_seconds=config.all_lost_after_seconds
        )
        self._known = known
        self._source = source
        self._registry = registry
        self._describe = describe
        self._now = now
        self._away = AwayClock()
        self._in_source: ShardMap | None = None
        self._source_answers = False
        self._present: Mapping[str, NodeRegistration] | None = None  # None: it cannot be seen who is
        self._is_registered = False
        self._changed = asyncio.Event()
        self._registration_changed = asyncio.Event()
        self._settled: tuple[object, ...] = ()
        self._empty_since: float | None = None
        self._said: dict[str, str] = {}

    def heard(self, found: ShardMap | None) -> None:
        """Take note of what the source has."""
        self._in_source, self._source_answers = found, True
        self._changed.set()

    def source_failed(self) -> None:
        """Take note that nobody knows what the source has."""
        self._source_answers, self._empty_since = False, None

    def holdings_changed(self) -> None:
        """Tell others at once what `describe` returns now."""
        self._registration_changed.set()

    async def join(self) -> None:
        """Register. A registry that is away is not waited for; who has this node's id, for one lease time.

        Raises NodeIdTaken, RegistryRefuses.
        """
        deadline = self._now() + self._config.lease_seconds + _PAUSE_SECONDS
        while True:
            try:
                return await self._register()
            except RegistryRefuses:
                raise
            except (MapSourceFailed, StorageError) as error:
                return self._say("registration", f"the node cannot register: {error}")
            except NodeIdTaken as error:  # perhaps by its own former life, at another address
                if self._now() >= deadline:
                    raise
                self._say("registration", f"{error}; waiting for a lease time")
            await asyncio.sleep(_PAUSE_SECONDS / 4)

    async def run(self) -> None:
        """Take part until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_registered())
            tasks.create_task(self._watch_others())
            tasks.create_task(self._take_steps())

    async def _stay_registered(self) -> None:
        while True:
            await _set_or_after(self._registration_changed, self._config.lease_seconds / _BEATS_A_LEASE)
            try:
                await self._register()
                self._say("registration", "")
            except (MapSourceFailed, NodeIdTaken, StorageError) as error:
                self._is_registered = False
                self._say("registration", f"the node cannot register: {error}")

    async def _register(self) -> None:
        registration = await asyncio.to_thread(self._describe)
        seen = self._present.get(registration.node.id) if self._present is not None else registration
        await self._registry.register(registration, again=seen != registration)
        self._is_registered = True

    async def _watch_others(self) -> None:
        while True:
            try:
                async with aclosing(self._registry.watch()) as pictures:
                    async for present in pictures:
                        self._present = present
                        self._say("registry", "")
                        self._changed.set()
            except MapSourceFailed as error:
                self._say("registry", f"it cannot be seen which nodes are alive: {error}")
            self._present = None
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _take_steps(self) -> None:
        while True:
            await _set_or_after(self._changed, _STEP_SECONDS)
            try:
                await self._take_step()
                self._say("proposal", "")
            except MapSourceFailed as error:
                self._say("proposal", f"the next shard map cannot be proposed: {error}")
            except Exception:  # a mistake of ours: without this task the cluster would never mend itself
                log.exception("the next shard map cannot be found")

    async def _take_step(self) -> None:
        # A node that cannot renew its own lease does not see the others either, whatever it saw last.
        present = self._present if self._is_registered else None
        expected = [node.id for node in self._in_source.nodes] if self._in_source is not None else []
        away = self._away.look(present, expected, self._now())
        if present is None or not self._source_answers:
            return
        base = self._in_source
        lost = lost_nodes(base.nodes, present, away, self._loss) if base is not None else frozenset()
        situation = (base, present, lost)
        if situation == self._settled:
            return
        proposal = repair(base, self._known.newest)
        if proposal is None and base is None and self._may_only_be_lost():
            return
        if proposal is None:
            step = await asyncio.to_thread(self._next, base, present, away)
            self._say("step", "; ".join(step.complaints))
            proposal = step.shard_map
        if proposal is None:
            self._settled = situation
            return
        await self._propose(base, proposal)

    def _may_only_be_lost(self) -> bool:
        """Tell whether a map that is not there may be with others, who are about to come back and put it there."""
        if self._empty_since is None:
            self._empty_since = self._now()
        return self._now() - self._empty_since < min(self._config.lease_seconds, _LONGEST_WAIT_SECONDS)

    def _next(
        self, base: ShardMap | None, present: Mapping[str, NodeRegistration], away: Mapping[str, float]
    ) -> MapStep:
        if base is None:
            return first_map(self._name, self._config.replicas, present.values())
        return next_map(base, present.values(), away, self._loss)

    async def _propose(self, base: ShardMap | None, proposal: ShardMap) -> None:
        await asyncio.sleep(random.uniform(0, _LONGEST_DELAY_SECONDS))  # noqa: S311  # nothing secret
        if self._in_source is not base or not self._source_answers:
            return
        if await self._source.compare_and_swap(0 if base is None else base.epoch, proposal):
            log.info("shard map proposed and agreed", epoch=proposal.epoch)

    def _say(self, subject: str, what: str) -> None:
        """Say in the log what is wrong with a subject, once, and that it is over."""
        before = self._said.get(subject, "")
        self._said[subject] = what
        if what and what != before:
            log.warning(what)
        elif before and not what:
            log.info("over", what=before)


async def _set_or_after(event: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, or for so long; it is not set then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()

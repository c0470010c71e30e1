"""Keeps a node registered, with what it says of itself now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.registry import NodeIdTaken, Registry, RegistryRefuses
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.registration import NodeRegistration
from store_server.cluster.said_once import SaidOnce
from store_server.storage import StorageError

# So often the node registers in the time of its lease, and in that after which a version leaves that nobody reads.
_BEATS: Final = 3
_PART_TO_DESCRIBE: Final = 0.5  # of the time between two of them
_PAUSE_SECONDS: Final = 1.0


class OwnRegistration:
    """`describe` returns what the node says of itself, and may wait for a disk: its lease is renewed meanwhile.

    `seen` returns what others see of the node with an id, None if nobody, and the node's own word while nobody can be
    seen. `now` is a clock in seconds that never goes back.
    """

    def __init__(
        self,
        config: ClusterConfig,
        registry: Registry,
        describe: Callable[[], NodeRegistration],
        seen: Callable[[NodeRegistration], NodeRegistration | None],
        said: SaidOnce,
        *,
        now: Callable[[], float],
    ) -> None:
        self.is_valid = False
        """Whether the registry took it when it was told last."""
        self._config = config
        self._registry = registry
        self._describe = describe
        self._seen = seen
        self._said = said
        self._now = now
        self._changed = asyncio.Event()
        self._beat_seconds = min(config.lease_seconds, config.retire_after_seconds) / _BEATS
        self._describing: asyncio.Task[NodeRegistration] | None = None
        self._described: NodeRegistration | None = None

    def changed(self) -> None:
        """Tell others at once what `describe` returns now."""
        self._changed.set()

    def doubt(self) -> None:
        """Take the registration for void until the registry has taken it once more, which it is asked to at once."""
        self.is_valid = False
        self._changed.set()

    async def begin(self) -> None:
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
                return self._say(f"the node cannot register: {error}")
            except NodeIdTaken as error:  # perhaps by its own former life, at another address
                if self._now() >= deadline:
                    raise
                self._say(f"{error}; waiting for a lease time")
            await asyncio.sleep(_PAUSE_SECONDS / 4)

    async def keep(self) -> None:
        """Stay registered until cancelled."""
        self._changed.clear()
        while True:  # at once: how much of the lease is left is not known
            try:
                await self._register()
                self._say("")
            except (MapSourceFailed, NodeIdTaken, StorageError) as error:
                self.is_valid = False
                self._say(f"the node cannot register: {error}")
            await set_or_after(self._changed, self._beat_seconds)

    async def _register(self) -> None:
        registration = await self._description()
        await self._registry.register(registration, again=self._seen(registration) != registration)
        self.is_valid = True

    async def _description(self) -> NodeRegistration:
        """Return what the node says of itself, or what it said last, while that takes longer than a lease could."""
        describing = self._describing
        if describing is None:
            describing = self._describing = asyncio.create_task(asyncio.to_thread(self._describe))
        if self._described is not None:
            await asyncio.wait([describing], timeout=self._beat_seconds * _PART_TO_DESCRIBE)
            if not describing.done():
                describing.add_done_callback(lambda _: self._changed.set())
                return self._described
        try:
            self._described = await describing
        finally:
            self._describing = None
        return self._described

    def _say(self, what: str) -> None:
        self._said.say("registration", what)


async def set_or_after(event: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, or for so long; it is not set then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()

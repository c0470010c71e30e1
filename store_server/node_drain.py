"""How a node comes to its end: first everybody is told and it serves on, then it stops, and cuts nobody short."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from store_server.access.audit import Event

if TYPE_CHECKING:
    from store_server.access.audit import Audit
    from store_server.catalog import Catalog
    from store_server.node_port import NodePort
    from store_server.services.node_services import NodeServices

log = structlog.get_logger()
_ON_THEIR_WAY_SECONDS: Final = 0.5  # for lookups that were sent already, where clients have no other node to go to
_LAST_WORD_SECONDS: Final = 0.25  # for those who only watch, once no call is under way: to hear that the node stops


class NodeDrain:
    """`announce` may come long before `finish`, which makes up for it if it did not. Belongs to the event loop.

    `seconds` are for all of `finish`. One of a cluster serves until its clients have gone to other nodes, or half of
    that time is over.
    """

    def __init__(
        self,
        services: NodeServices,
        catalog: Catalog,
        port: NodePort,
        audit: Audit,
        *,
        seconds: float,
        is_in_cluster: bool,
    ) -> None:
        self._services = services
        self._catalog = catalog
        self._port = port
        self._audit = audit
        self._seconds = seconds
        self._most_until_quiet = min(seconds / 2, math.inf if is_in_cluster else _ON_THEIR_WAY_SECONDS)

    def announce(self) -> None:
        """Tell everybody from now on that this node stops. It serves on. There is no way back."""
        if self._services.draining.is_announced:
            return
        log.info("draining", seconds=self._seconds)
        self._audit.record(Event(action="node", outcome="draining", details={"seconds": self._seconds}))
        self._services.draining.announce()
        self._services.health.tell_end()

    async def nobody_asks(self, most_seconds: float) -> bool:
        """Wait, once it is announced, until no lookup has come for a moment; tells whether it came to that in time."""
        return await self._services.draining.nobody_asks(self._services.under_way, most_seconds=most_seconds)

    async def finish(self) -> None:
        """Stop: finish what is under way, and cut what is not done in time."""
        now = asyncio.get_running_loop().time
        latest = now() + self._seconds
        self.announce()
        is_quiet = await self.nobody_asks(self._most_until_quiet)
        log.info("ending, nobody asks any more" if is_quiet else "ending, though clients ask still")
        self._catalog.stop_following()
        self._services.lookups.end_streams()
        refusing = asyncio.create_task(self._port.stop(latest - now()))
        # Not for all of gRPC's calls: who watches health watches until the connection ends.
        with suppress(TimeoutError):
            async with asyncio.timeout_at(latest):
                await self._services.under_way.ended()
        await self._port.stop(_LAST_WORD_SECONDS)
        await refusing

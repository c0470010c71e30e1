"""Lets nodes see that a publisher lives, as long as it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from store_server.cluster.agreement.map_source import MapSourceFailed

if TYPE_CHECKING:
    from store_server.cluster.agreement.registry import PublisherRegistry

_PAUSE_SECONDS: Final = 0.5


@asynccontextmanager
async def seen_by_nodes(publishers: PublisherRegistry, publisher: str) -> AsyncIterator[None]:
    """Be registered as long as the block lasts, and again after a time in which that was not possible.

    Raises MapSourceFailed if it is not possible at first.
    """
    await publishers.register(publisher)
    keeping = asyncio.create_task(_keep(publishers, publisher))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        with suppress(MapSourceFailed):  # its lease will end
            await publishers.leave()


async def _keep(publishers: PublisherRegistry, publisher: str) -> None:
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        with suppress(MapSourceFailed):  # nodes wait for a while
            await publishers.register(publisher)

"""One look at the data root for all who ask at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from store_server.storage import StorageError

if TYPE_CHECKING:
    from store_server.catalog import Catalog


class SharedLook:
    """Looks at the data root, one look at a time. Belongs to the event loop.

    Who asks while a look is under way shares the next one: the one under way may have passed what was just published.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._under_way: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Wait at most so long for a look that began after this call.

        Not at all while a table is loaded into memory: that is part of a look, and takes as long as a table is large.
        """
        if not self._catalog.is_loading:
            await asyncio.wait({self._begun_after_now()}, timeout=seconds)

    def _begun_after_now(self) -> asyncio.Task[None]:
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._look())
            return self._under_way
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._under_way))
        return self._next

    async def _look_after(self, under_way: asyncio.Task[None]) -> None:
        await asyncio.wait({under_way})
        self._under_way, self._next = self._next, None
        await self._look()

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self._catalog.reload)
        except (StorageError, OSError):  # what is open is still there, and who follows the root says what is wrong
            return

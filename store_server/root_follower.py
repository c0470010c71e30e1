"""Looks again and again at the data root of a node: what was published or dropped, and what of it lies in RAM."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from store_server.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from store_server.catalog import Catalog

log = structlog.get_logger()
_MOST_TIME_ON_RESIDENCY: Final = 0.02  # share of the time that may go into asking the kernel what lies in RAM


class RootFollower:
    """Brings a catalog up to date every `pause_seconds`, from `start` to `close`; `looked` is awaited each time.

    Belongs to the event loop.
    """

    def __init__(self, catalog: Catalog, pause_seconds: float, looked: Callable[[], Awaitable[None]]) -> None:
        self._catalog = catalog
        self._pause_seconds = pause_seconds
        self._looked = looked
        self._task: asyncio.Task[None] | None = None
        self._failure = ""  # of the last look, "" for none

    def start(self) -> None:
        """Begin, with a pause."""
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        pause = self._pause_seconds
        while True:
            await asyncio.sleep(pause)
            pause = self._pause_seconds
            try:
                pause = max(pause, await self._look())
                self._say("")
            except (StorageError, OSError) as error:  # what is open is still there; the next look may succeed
                self._say(str(error))
            except Exception:  # a mistake of ours: without this task nothing new would ever be served
                log.exception("could not look at the data root")

    def _say(self, failure: str) -> None:
        """Say once, and not at each look, that the data root cannot be looked at, and that it can be again."""
        before, self._failure = self._failure, failure
        if failure and failure != before:
            log.warning("could not look at the data root", error=failure)
        elif before and not failure:
            log.info("the data root can be looked at again")

    async def _look(self) -> float:
        """Look once; returns for how many seconds the kernel should not be asked again what lies in RAM."""
        await asyncio.to_thread(self._catalog.reload)
        began = time.monotonic()
        await asyncio.to_thread(self._catalog.refresh_residency, self._pause_seconds * _MOST_TIME_ON_RESIDENCY)
        seconds_on_residency = time.monotonic() - began
        await self._looked()
        return seconds_on_residency / _MOST_TIME_ON_RESIDENCY

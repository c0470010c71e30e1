"""Looks at the file of credentials again and again, and out of turn for who might be in it since a moment ago."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.access.credential_file import CredentialFile
    from store_server.access.credentials import Credentials

log = structlog.get_logger()
_LOOK_SECONDS: Final = 1.0
_LEAST_SECONDS: Final = 0.25  # between looks, however many ask for one
_WAIT_SECONDS: Final = 2.0  # for a look; a disk that does not answer is not waited for


class CredentialFollower:
    """From `start` to `close`. Belongs to the event loop.

    `take` is given what the file says whenever that has changed; `tick` is called each second, whatever the disk does.
    """

    def __init__(self, file: CredentialFile, take: Callable[[Credentials], None], tick: Callable[[], None]) -> None:
        self._file = file
        self._take = take
        self._tick = tick
        self._under_way: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._began = 0.0
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a pause."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Look no more."""
        for task in (self._following, self._next, self._under_way):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def look(self) -> None:
        """Wait for a look that begins after this call, which all share who ask before it begins; not for long."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_next())
        await asyncio.wait({self._next}, timeout=_WAIT_SECONDS)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._next is None and (self._under_way is None or self._under_way.done()):
                self._begin()
            self._tick()

    async def _look_next(self) -> None:
        await asyncio.sleep(self._began + _LEAST_SECONDS - time.monotonic())
        if self._under_way is not None:
            await asyncio.wait({self._under_way})
        under_way, self._next = self._begin(), None
        await asyncio.wait({under_way})

    def _begin(self) -> asyncio.Task[None]:
        self._began = time.monotonic()
        self._under_way = asyncio.create_task(self._look())
        return self._under_way

    async def _look(self) -> None:
        try:
            credentials = await asyncio.to_thread(self._file.changed)
            if credentials is not None:
                self._take(credentials)
        except Exception:  # a mistake of ours: without this nobody would ever be revoked
            self._file.failures += 1
            log.exception("the credentials cannot be followed")

"""Admits those whom the credentials name, as long as they do."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from store_server import failures
from store_server.access.audit import Event
from store_server.access.known_callers import KnownCallers
from store_server.access.open_calls import OpenCall, OpenCalls
from store_server.access.refusals import Refusals
from store_server.access.shown import shown_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc

    from store_server.access.audit import Audit
    from store_server.access.caller import Caller
    from store_server.access.credential_file import CredentialFile
    from store_server.access.credentials import Credentials
    from store_server.access.identity import Identity
    from store_server.access.shown import Shown

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

log = structlog.get_logger()
_LOOK_SECONDS: Final = 1.0
_LEAST_SECONDS: Final = 0.25  # between looks, however many unknown tokens come
_WAIT_SECONDS: Final = 2.0  # for a look, of who showed an unknown token


class IdentifiedAccess:
    """See Access. From `start` to `close` it follows the file of credentials and the clock.

    Tokens that ended and certificates that expired end the calls of their bearers within two seconds, unless the disk
    with the file does not answer: what it last said counts for so long.
    """

    def __init__(
        self,
        file: CredentialFile,
        credentials: Credentials,
        audit: Audit,
        *,
        now: Callable[[], float] = time.time,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._file = file
        self._audit = audit
        self._now = now
        self._look_seconds = look_seconds
        self._known = KnownCallers(credentials)
        self._open = OpenCalls()
        self.refusals = Refusals(audit)
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Follow no more."""
        for task in (self._following, self._looking):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @asynccontextmanager
    async def admitted(self, context: Context) -> AsyncIterator[Caller]:
        """See Access.admitted."""
        shown, peer = shown_by(context.invocation_metadata(), context.auth_context()), context.peer()
        caller = await self._identified(shown, peer)
        call = OpenCall(caller, None if shown.certificate is None else shown.certificate.not_after)
        if fault := call.fault(self._now()):
            raise self._refused(fault, shown, peer, caller.name)
        with self._open.one_more(call):
            yield caller

    async def _identified(self, shown: Shown, peer: str) -> Identity:
        found = self._known.find(shown)
        if isinstance(found, str) and shown.token is not None:  # its entry may have been written a moment ago
            await self._look_soon()
            found = self._known.find(shown)
        if isinstance(found, str):
            raise self._refused(found, shown, peer)
        return found

    def _refused(self, reason: str, shown: Shown, peer: str, caller: str = "somebody") -> failures.CallFailed:
        token_id = "" if shown.token is None else shown.token.id
        self.refusals.say(reason, peer=peer, caller=caller, token_id=token_id)
        return failures.unauthenticated(reason)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            self._begin_look()
            self._end_faulty()  # by the clock, also while a disk is waited for

    async def _look_soon(self) -> None:
        if time.monotonic() - self._looked_at >= _LEAST_SECONDS:
            self._begin_look()
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=_WAIT_SECONDS)

    def _begin_look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looked_at = time.monotonic()
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            credentials = await asyncio.to_thread(self._file.changed)
            if credentials is not None:
                self._take(credentials)
        except Exception:  # a mistake of ours: without this nobody would ever be revoked
            self._file.failures += 1
            log.exception("the credentials cannot be followed")

    def _take(self, credentials: Credentials) -> None:
        changes = self._known.take(credentials)
        log.info(
            "credentials reread",
            file=str(self._file.path),
            added=len(changes.added),
            removed=len(changes.removed),
            changed=len(changes.changed),
        )
        details = {"added": changes.added, "removed": changes.removed, "changed": changes.changed}
        self._audit.record(Event(action="credentials", outcome="reread", details=details))
        self._end_faulty()

    def _end_faulty(self) -> None:
        for reason, calls in self._open.end_faulty(self._now()).items():
            log.warning("calls ended", reason=reason, calls=calls)
            self._audit.record(Event(action="calls", outcome="ended", details={"reason": reason, "calls": calls}))

"""Admits those whom the credentials name, as long as they do."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import structlog

from store_server import failures
from store_server.access.audit import Event
from store_server.access.credential_follower import CredentialFollower
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


class IdentifiedAccess:
    """See Access. From `start` to `close` it follows the file of credentials and the clock.

    Tokens that ended and certificates that expired end the calls of their bearers within two seconds, unless the disk
    with the file does not answer: what it last said counts for so long.
    """

    def __init__(
        self,
        file: CredentialFile,
        audit: Audit,
        *,
        audit_of_node: Audit | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`audit_of_node` takes down what each worker sees; `now` is in seconds since 1970. InvalidCredentials."""
        self.refusals = Refusals(audit)
        self._file = file
        self._audit_of_node = audit_of_node or audit
        self._now = now
        self._known = KnownCallers(file.first())
        self._open = OpenCalls(audit)
        self._follower = CredentialFollower(file, self._take, self._end_faulty)

    def start(self) -> None:
        """Begin to follow."""
        self._follower.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._follower.close()

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

    def denied(self, caller: Caller, peer: str, reason: str) -> None:
        """See Access.denied."""
        self.refusals.say(reason, peer=peer, caller=caller.name)

    async def _identified(self, shown: Shown, peer: str) -> Identity:
        found = self._known.find(shown)
        if isinstance(found, str) and shown.token is not None:  # its entry may have been written a moment ago
            await self._follower.look()
            found = self._known.find(shown)
        if isinstance(found, str):
            raise self._refused(found, shown, peer)
        return found

    def _refused(self, reason: str, shown: Shown, peer: str, caller: str = "somebody") -> failures.CallFailed:
        token_id = "" if shown.token is None else shown.token.id
        self.refusals.say(reason, peer=peer, caller=caller, token_id=token_id)
        return failures.unauthenticated(reason)

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
        self._audit_of_node.record(Event(action="credentials", outcome="reread", details=details))
        self._end_faulty()

    def _end_faulty(self) -> None:
        self._open.end_faulty(self._now())

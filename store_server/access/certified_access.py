"""Admits anybody who has shown a certificate, as long as that lasts: for nodes with --tls-client-ca and no --tokens."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from store_server import failures
from store_server.access.caller import Anybody
from store_server.access.open_calls import OpenCall, OpenCalls
from store_server.access.refusals import Refusals
from store_server.access.shown import shown_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from store_server.access.audit import Audit
    from store_server.access.caller import Caller

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

_LOOK_SECONDS: Final = 1.0


class CertifiedAccess:
    """See Access. TLS asks for the certificate when a connection begins, and never again: this looks at the clock.

    From `start` to `close` certificates that expired end the calls of their bearers within two seconds.
    """

    def __init__(self, audit: Audit) -> None:
        self._refusals = Refusals(audit)
        self._open = OpenCalls(audit)
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    @asynccontextmanager
    async def admitted(self, context: Context) -> AsyncIterator[Caller]:
        """See Access.admitted."""
        caller, certificate = Anybody(context.peer()), shown_by((), context.auth_context()).certificate
        call = OpenCall(caller, None if certificate is None else certificate.not_after)
        if fault := call.fault(time.time()):
            self._refusals.say(fault, peer=context.peer(), caller=caller.name)
            raise failures.unauthenticated(fault)
        with self._open.one_more(call):
            yield caller

    def denied(self, caller: Caller, peer: str, reason: str) -> None:
        """See Access.denied: nobody is."""

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._open.end_faulty(time.time())

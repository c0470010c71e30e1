"""Where a node learns who calls."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

import grpc

from store_server.access.caller import Anybody, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]


class Access(Protocol):
    """Admits callers. Belongs to the event loop."""

    def admitted(self, context: Context) -> AbstractAsyncContextManager[Caller]:
        """Return who makes a call, as long as the call lasts.

        Raises CallFailed where it does not say who it is, or no longer may call. An open call whose caller loses that
        right is cancelled; the block turns that into the CallFailed that tells why.
        """
        ...

    def denied(self, caller: Caller, peer: str, reason: str) -> None:
        """Take note that somebody who was admitted has no right to what it asks for."""
        ...


class OpenAccess:
    """Admits anybody: for a node on loopback or in a network whose every host is trusted."""

    @asynccontextmanager
    async def admitted(self, context: Context) -> AsyncIterator[Caller]:
        """See Access.admitted."""
        yield Anybody(context.peer())

    def denied(self, caller: Caller, peer: str, reason: str) -> None:
        """See Access.denied: nobody is."""

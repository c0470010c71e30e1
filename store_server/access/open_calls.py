"""Calls that are under way, so that they can be ended when their caller may no longer call."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from store_server import failures
from store_server.access.audit import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.access.audit import Audit
    from store_server.access.caller import Anybody
    from store_server.access.identity import Identity

log = structlog.get_logger()


class OpenCall:
    """A call of the running task.

    `not_after` is when the certificate of its connection ends, in seconds since 1970; None for never.
    """

    __slots__ = ("_task", "caller", "ended_because", "not_after")

    def __init__(self, caller: Identity | Anybody, not_after: float | None) -> None:
        self.caller, self.not_after = caller, not_after
        self.ended_because = ""
        self._task = asyncio.current_task()

    def fault(self, now: float) -> str:
        """Say why the caller may no longer call, "" if it may."""
        if self.not_after is not None and now >= self.not_after:
            return "the client certificate of the connection has expired"
        return self.caller.fault(now)

    def end(self, reason: str) -> None:
        """Cancel it."""
        if self._task is not None:
            self.ended_because = reason
            self._task.cancel()

    def only_we_ended_it(self) -> bool:
        """Tell whether what cancelled it was `end` alone, which it takes back then; not a client that has gone."""
        return bool(self.ended_because) and self._task is not None and self._task.uncancel() == 0


class OpenCalls:
    """All of them. Belongs to the event loop."""

    def __init__(self, audit: Audit) -> None:
        self._calls: set[OpenCall] = set()
        self._audit = audit

    @contextmanager
    def one_more(self, call: OpenCall) -> Iterator[None]:
        """Have a call among them as long as the block lasts. Raises CallFailed if it was ended."""
        self._calls.add(call)
        try:
            yield
        except asyncio.CancelledError:
            if not call.only_we_ended_it():
                raise
            raise failures.unauthenticated(call.ended_because) from None
        finally:
            self._calls.discard(call)

    def end_faulty(self, now: float) -> None:
        """End the calls of who may no longer call."""
        ended: dict[str, int] = {}
        for call in self._calls:
            if not call.ended_because and (fault := call.fault(now)):
                call.end(fault)
                ended[fault] = ended.get(fault, 0) + 1
        for reason, calls in ended.items():
            log.warning("calls ended", reason=reason, calls=calls)
            self._audit.record(Event(action="calls", outcome="ended", details={"reason": reason, "calls": calls}))

"""Calls and their messages, counted by method and outcome."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from store_server.observing.durations import Durations
from store_server.observing.request_id import request_id_of
from store_server.observing.request_log import SLOW_SECONDS, RequestLog

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from engram_store.codec import Failure
    from store_server.observing.call_observer import Metadata, Method


class MethodCounts:
    """The calls of one method."""

    __slots__ = ("handled", "received", "seconds", "sent", "started")

    def __init__(self) -> None:
        self.started = 0
        self.received = self.sent = 0  # messages
        self.handled: Counter[str] = Counter()  # by the name of the status
        self.seconds = Durations()


class CallCounts:
    """A CallObserver that counts, and tells the log of what fails or is slow.

    Belongs to the event loop; others may read what is counted at any time.
    """

    def __init__(self, request_log: RequestLog | None = None) -> None:
        self.methods: dict[Method, MethodCounts] = {}
        self._log = request_log or RequestLog()

    def began(self, method: Method, metadata: Callable[[], Metadata | None]) -> CountedCall:
        """See CallObserver.began."""
        counts = self.methods.get(method)
        if counts is None:
            counts = self.methods[method] = MethodCounts()
        counts.started += 1
        return CountedCall(counts, method, metadata, self._log)


class CountedCall:
    """An ObservedCall that is under way."""

    __slots__ = ("_began", "_counts", "_log", "_metadata", "_method", "_request_id", "caller")

    def __init__(
        self, counts: MethodCounts, method: Method, metadata: Callable[[], Metadata | None], request_log: RequestLog
    ) -> None:
        self.caller = ""
        self._counts, self._method, self._metadata, self._log = counts, method, metadata, request_log
        self._request_id = ""
        self._began = time.perf_counter()

    @property
    def request_id(self) -> str:
        """See ObservedCall.request_id."""
        if not self._request_id:
            self._request_id = request_id_of(self._metadata())
        return self._request_id

    def received(self) -> None:
        """See ObservedCall.received."""
        self._counts.received += 1

    def sent(self) -> None:
        """See ObservedCall.sent."""
        self._counts.sent += 1

    def failed(self, failure: Failure) -> None:
        """See ObservedCall.failed."""
        self._log.failed(self._method, self.request_id, self.caller, failure)

    def slow(self, seconds: float) -> None:
        """See ObservedCall.slow."""
        self._log.slow(self._method, self.request_id, self.caller, seconds)

    def ended(self, code: grpc.StatusCode) -> None:
        """See ObservedCall.ended."""
        seconds = time.perf_counter() - self._began
        self._counts.handled[code.name] += 1
        self._counts.seconds.add(seconds)
        if seconds > SLOW_SECONDS and self._method.kind == "unary":
            self.slow(seconds)

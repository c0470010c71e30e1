"""Calls and their messages, counted by method and outcome."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from store_server.observing.durations import Durations

if TYPE_CHECKING:
    import grpc

    from store_server.observing.call_observer import Method


class MethodCounts:
    """The calls of one method."""

    __slots__ = ("handled", "received", "seconds", "sent", "started")

    def __init__(self) -> None:
        self.started = 0
        self.received = self.sent = 0  # messages
        self.handled: Counter[str] = Counter()  # by the name of the status
        self.seconds = Durations()


class CallCounts:
    """A CallObserver that counts. Belongs to the event loop; others may read at any time."""

    def __init__(self) -> None:
        self.methods: dict[Method, MethodCounts] = {}

    def began(self, method: Method) -> CountedCall:
        """See CallObserver.began."""
        counts = self.methods.get(method)
        if counts is None:
            counts = self.methods[method] = MethodCounts()
        counts.started += 1
        return CountedCall(counts)


class CountedCall:
    """An ObservedCall that is under way."""

    __slots__ = ("_began", "_counts")

    def __init__(self, counts: MethodCounts) -> None:
        self._counts = counts
        self._began = time.perf_counter()

    def received(self) -> None:
        """See ObservedCall.received."""
        self._counts.received += 1

    def sent(self) -> None:
        """See ObservedCall.sent."""
        self._counts.sent += 1

    def ended(self, code: grpc.StatusCode) -> None:
        """See ObservedCall.ended."""
        self._counts.handled[code.name] += 1
        self._counts.seconds.add(time.perf_counter() - self._began)

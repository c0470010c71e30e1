"""LookupService: rows of tables, one request at a time or many over a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Final

import grpc

from store_server import failures
from store_server.access.caller import Scope
from store_server.catalog import Catalog
from store_server.observing.lookup_counts import LookupCounts
from store_server.observing.tracing import SpansOfCalls
from store_server.services.answers import Answers
from store_server.services.call import Call
from store_server.services.calls import Calls
from store_server.services.draining import Draining
from store_server.services.reply_stream import ReplyStream
from store_server.services.under_way import CallsUnderWay

SERVICE: Final = "engram_store.v1.LookupService"


class LookupService:
    """Answers lookups from the versions of a catalog; see Answers."""

    def __init__(
        self,
        catalog: Catalog,
        executor: Executor,
        under_way: CallsUnderWay,
        draining: Draining,
        epoch: Callable[[], int] = lambda: 0,
        counts: LookupCounts | None = None,
        spans: SpansOfCalls = lambda: None,
    ) -> None:
        self._catalog = catalog
        self._executor = executor
        self._under_way = under_way
        self._draining = draining
        self._epoch = epoch
        self._counts = counts or LookupCounts()
        self._spans = spans
        self._streams: set[ReplyStream] = set()
        self._is_ending = False

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves this service."""
        methods = {
            "Lookup": calls.one_reply(SERVICE, "Lookup", Scope.READ, self._lookup),
            "LookupStream": calls.both_ways(SERVICE, "LookupStream", Scope.READ, self._lookup_stream),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    @property
    def num_streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def end_streams(self) -> None:
        """Let each open stream finish what it has begun, then end it."""
        self._is_ending = True
        for stream in self._streams:
            stream.drain()

    async def _lookup(self, message: bytes, call: Call) -> bytes:
        self._draining.count_lookup()
        with self._under_way.one_more():
            return await self._answers(call).to_one(message)

    async def _lookup_stream(self, call: Call) -> None:
        if self._is_ending:
            raise failures.shutting_down()

        def write(reply: bytes) -> Awaitable[None]:
            return call.write(self._draining.told_in(reply))

        stream = ReplyStream(call.context, self._answers(call), call.load, write)
        self._streams.add(stream)
        try:
            with self._under_way.one_more():
                await stream.run()
        finally:
            self._streams.discard(stream)
        if stream.unreadable is not None:
            raise stream.unreadable
        if self._is_ending:
            raise failures.shutting_down()

    def _answers(self, call: Call) -> Answers:
        return Answers(self._catalog, self._executor, self._epoch, self._counts, call, self._spans())

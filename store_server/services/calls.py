"""The border that every call of ours passes: who calls, who is told of it, and what a failure looks like outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from engram_store.codec import MalformedMessage
from store_server import failures
from store_server.access.access import Access, OpenAccess
from store_server.access.caller import Scope
from store_server.failures import CallFailed
from store_server.limits.connections import Connections
from store_server.limits.half_sent import Arrived
from store_server.limits.load import Load
from store_server.observing.call_observer import CallObserver, Method, NobodyObserves
from store_server.observing.request_id import REQUEST_ID_KEY
from store_server.services.call import Call

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Needed: TypeAlias = Scope | tuple[Scope, ...]
"""Rights of which a caller must have one somewhere to use a method at all; () for anybody who is admitted."""
_Request = TypeVar("_Request", bound=Message)


class Calls:
    """Makes handlers of what services do. A service raises CallFailed and leaves it to this what gRPC is told."""

    def __init__(
        self,
        load: Load,
        access: Access | None = None,
        observer: CallObserver | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.open: set[Call] = set()
        """The calls that are under way."""
        self._load = load
        self._access = access or OpenAccess()
        self._observer = observer or NobodyObserves()
        self._connections = connections

    def one_reply(
        self, service: str, name: str, scope: Needed, answer: Callable[[bytes, Call], Awaitable[bytes]]
    ) -> Handler:
        """Return the handler of a method that takes a message and returns one.

        To gRPC it is one that writes its replies, of which there is one: no other tells when a client has taken it.
        """
        method = Method(service, name, "unary")

        async def handle(message: bytes, context: Context) -> None:
            async with self._passed(method, scope, context) as call:
                call.received(message)
                with call.load.admitted(len(message)):
                    reply = await answer(message, call)
                context.set_trailing_metadata(((REQUEST_ID_KEY, call.observed.request_id),))
                await call.take_room_for(reply)
                await call.write(reply)

        return grpc.unary_stream_rpc_method_handler(handle)

    def many_replies(
        self, service: str, name: str, scope: Needed, answer: Callable[[bytes, Call], Awaitable[None]]
    ) -> Handler:
        """Return the handler of a method that takes a message and writes its replies itself."""
        method = Method(service, name, "server_stream")

        async def handle(message: bytes, context: Context) -> None:
            async with self._passed(method, scope, context) as call:
                call.received(message)
                with call.load.admitted(len(message)):
                    await answer(message, call)

        return grpc.unary_stream_rpc_method_handler(handle)

    def both_ways(self, service: str, name: str, scope: Needed, answer: Callable[[Call], Awaitable[None]]) -> Handler:
        """Return the handler of a method that reads its messages and writes its replies itself."""
        method = Method(service, name, "bidi_stream")

        async def handle(_: object, context: Context) -> None:
            async with self._passed(method, scope, context) as call:
                await answer(call)

        return grpc.stream_stream_rpc_method_handler(handle)

    @asynccontextmanager
    async def _passed(self, method: Method, scope: Needed, context: Context) -> AsyncIterator[Call]:
        observed = self._observer.began(method, context.invocation_metadata)
        code = grpc.StatusCode.UNKNOWN  # what gRPC says of a mistake of ours
        call: Call | None = None
        try:
            try:
                arrived = self._require_connection(context)
                arrived.calls += 1
                async with self._access.admitted(context) as caller:
                    observed.caller = caller.name
                    call = Call(caller, context, self._load.of(caller.key), observed, self._access, arrived)
                    self.open.add(call)
                    call.require_any((scope,) if isinstance(scope, Scope) else scope)
                    with call.failed_if_stalled():
                        yield call
                code = grpc.StatusCode.OK
            except CallFailed as raised:
                failed = failures.as_known(raised, context.invocation_metadata)
                code = failed.code
                if call is not None:
                    call.begin_end()
                observed.failed(failed.failure)
                await failures.abort(context, failed, ((REQUEST_ID_KEY, observed.request_id),))
        except asyncio.CancelledError:
            if code is grpc.StatusCode.UNKNOWN:
                code = grpc.StatusCode.CANCELLED
            raise
        finally:
            if call is not None:
                self.open.discard(call)
                call.give_room()
            observed.ended(code)

    def _require_connection(self, context: Context) -> Arrived:
        """Return what counts what is handed out of the call's connection. Raises CallFailed for one too many."""
        if self._connections is None:
            return Arrived()
        peer = context.peer()
        if not self._connections.admits(peer):
            self._load.refused["max-connections"] += 1
            raise failures.overloaded("max-connections", self._connections.most, self._connections.number)
        return self._connections.arrived(peer)


def parsed(request: _Request, message: bytes) -> _Request:
    """Fill `request` from a message. Raises CallFailed."""
    try:
        request.ParseFromString(message)
    except DecodeError as error:
        detail = f"{len(message)} bytes are no {type(request).__name__}: {error}"
        raise failures.malformed_request(MalformedMessage(detail)) from error
    return request

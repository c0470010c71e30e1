"""The border that every call of ours passes: who calls, who is told of it, and what a failure looks like outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from engram_store.codec import MalformedMessage
from store_server import failures
from store_server.access.access import Access, OpenAccess
from store_server.access.caller import Caller, Scope
from store_server.failures import CallFailed
from store_server.observing.call_observer import CallObserver, Method, NobodyObserves
from store_server.storage import StorageError
from store_server.storage.names import check_table_name

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
_Request = TypeVar("_Request", bound=Message)


class Call(NamedTuple):
    """One call as a service sees it."""

    caller: Caller
    context: Context

    def require(self, scope: Scope, table: str) -> None:
        """Raise what a table that is not there raises, where the caller has no such right on it.

        Whether there is a table that it may not see is nothing that it may learn. Raises CallFailed.
        """
        if self.caller.may(scope, table):
            return
        try:
            check_table_name(table)
        except StorageError as error:
            raise failures.of_storage(error) from error
        raise failures.table_not_found(table, "this node")


class Calls:
    """Makes handlers of what services do. A service raises CallFailed and leaves it to this what gRPC is told."""

    def __init__(self, access: Access | None = None, observer: CallObserver | None = None) -> None:
        self._access = access or OpenAccess()
        self._observer = observer or NobodyObserves()

    def one_reply(
        self, service: str, name: str, scope: Scope, answer: Callable[[bytes, Call], Awaitable[bytes]]
    ) -> Handler:
        """Return the handler of a method that takes a message and returns one."""
        method = Method(service, name, "unary")

        async def handle(message: bytes, context: Context) -> bytes:
            async with self._passed(method, scope, context) as call:
                return await answer(message, call)

        return grpc.unary_unary_rpc_method_handler(handle)

    def many_replies(
        self, service: str, name: str, scope: Scope, answer: Callable[[bytes, Call], Awaitable[None]]
    ) -> Handler:
        """Return the handler of a method that takes a message and writes its replies itself."""
        method = Method(service, name, "server_stream")

        async def handle(message: bytes, context: Context) -> None:
            async with self._passed(method, scope, context) as call:
                await answer(message, call)

        return grpc.unary_stream_rpc_method_handler(handle)

    def both_ways(self, service: str, name: str, scope: Scope, answer: Callable[[Call], Awaitable[None]]) -> Handler:
        """Return the handler of a method that reads its messages and writes its replies itself."""
        method = Method(service, name, "bidi_stream")

        async def handle(_: object, context: Context) -> None:
            async with self._passed(method, scope, context) as call:
                await answer(call)

        return grpc.stream_stream_rpc_method_handler(handle)

    @asynccontextmanager
    async def _passed(self, method: Method, scope: Scope, context: Context) -> AsyncIterator[Call]:
        ended = self._observer.began(method)
        code = grpc.StatusCode.UNKNOWN  # what gRPC says of a mistake of ours
        try:
            async with self._access.admitted(context) as caller:
                if not caller.may_anywhere(scope):
                    raise failures.permission_denied(caller.name, scope)
                yield Call(caller, context)
            code = grpc.StatusCode.OK
        except CallFailed as failed:
            code = failed.code
            await failures.abort(context, failed)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            ended(code)


def parsed(request: _Request, message: bytes) -> _Request:
    """Fill `request` from a message. Raises CallFailed."""
    try:
        request.ParseFromString(message)
    except DecodeError as error:
        detail = f"{len(message)} bytes are no {type(request).__name__}: {error}"
        raise failures.malformed_request(MalformedMessage(detail)) from error
    return request

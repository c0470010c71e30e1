"""The standard reflection service: which services there are, and their messages. For whom the node admits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from store_server.services.calls import Calls, parsed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from store_server.services.call import Call

SERVICE: Final = reflection.SERVICE_NAME


class ReflectionService:
    """Tells of services by their names, with gRPC's own answers."""

    def __init__(self, names: Sequence[str]) -> None:
        self._answers = reflection.aio.ReflectionServicer((*names, SERVICE))

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves it."""
        methods = {"ServerReflectionInfo": calls.both_ways(SERVICE, "ServerReflectionInfo", (), self._info)}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _info(self, call: Call) -> None:
        async for response in self._answers.ServerReflectionInfo(_requests(call), call.context):
            await call.write(response.SerializeToString())


async def _requests(call: Call) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    while isinstance(message := await call.context.read(), bytes):
        call.received(message)
        yield parsed(reflection_pb2.ServerReflectionRequest(), message)

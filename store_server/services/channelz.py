"""The standard channelz service: the connections of this process, and what went over each. For its operators."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_channelz.v1 import channelz, channelz_pb2

from store_server.access.caller import Scope
from store_server.failures import CallFailed
from store_server.services.calls import Calls, parsed

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from store_server.services.call import Call

_DESCRIBED: Final = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
SERVICE: Final = _DESCRIBED.full_name


def handler(calls: Calls) -> grpc.GenericRpcHandler:
    """Return what serves it, with gRPC's own answers, which are at hand and of at most 500 entries each."""
    methods = {
        method.name: calls.one_reply(SERVICE, method.name, Scope.ADMIN, partial(_answer, method))
        for method in _DESCRIBED.methods
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


async def _answer(method: MethodDescriptor, message: bytes, _: Call) -> bytes:
    request = parsed(GetMessageClass(method.input_type)(), message)
    outcome = _Outcome()
    response = getattr(channelz.ChannelzServicer, method.name)(request, outcome)
    if outcome.code is not grpc.StatusCode.OK:
        raise CallFailed(outcome.code, "CHANNELZ", outcome.details)
    return bytes(response.SerializeToString())


class _Outcome:
    """Stands for the context of a call, to which gRPC's servicer says why it has no answer."""

    def __init__(self) -> None:
        self.code, self.details = grpc.StatusCode.OK, ""

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: Any) -> None:  # noqa: ANN401
        self.details = str(details)

"""AdminService: how the node is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from engram_store.v1 import admin_service_pb2 as pb
from store_server.access.caller import Scope
from store_server.services.calls import Calls, parsed

if TYPE_CHECKING:
    from store_server.services.call import Call
    from store_server.services.node_status import NodeStatus

SERVICE: Final = "engram_store.v1.AdminService"


class AdminService:
    """For those who run the node: with the scope `admin`, or `read` for its status."""

    def __init__(self, status: NodeStatus) -> None:
        self._status = status

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves this service."""
        methods = {"GetStatus": calls.one_reply(SERVICE, "GetStatus", (Scope.READ, Scope.ADMIN), self._get_status)}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _get_status(self, message: bytes, call: Call) -> bytes:
        parsed(pb.GetStatusRequest(), message)
        return self._status.of_now(call.caller).SerializeToString()

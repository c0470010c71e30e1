"""AdminService: how the node is, and the changes that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from engram_store.codec import MalformedMessage
from engram_store.v1 import admin_service_pb2 as pb
from store_server import failures
from store_server.access.caller import Scope
from store_server.services.calls import Calls, parsed

if TYPE_CHECKING:
    from store_server.services.call import Call
    from store_server.services.node_changes import NodeChanges
    from store_server.services.node_status import NodeStatus
    from store_server.storage import Manifest

SERVICE: Final = "engram_store.v1.AdminService"


class AdminService:
    """The status is for the scopes `read` and `admin`; `changes` decide themselves, None where none are taken."""

    def __init__(self, status: NodeStatus, changes: NodeChanges | None) -> None:
        self._status = status
        self._changes = changes

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves this service."""
        methods = {
            "GetStatus": calls.one_reply(SERVICE, "GetStatus", (Scope.READ, Scope.ADMIN), self._get_status),
            "Drain": calls.one_reply(SERVICE, "Drain", (), self._drain),
            "AttachTable": calls.one_reply(SERVICE, "AttachTable", (), self._attach_table),
            "DropVersion": calls.one_reply(SERVICE, "DropVersion", (), self._drop_version),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _get_status(self, message: bytes, call: Call) -> bytes:
        parsed(pb.GetStatusRequest(), message)
        return self._status.of_now(call.caller).SerializeToString()

    async def _drain(self, message: bytes, call: Call) -> bytes:
        parsed(pb.DrainRequest(), message)
        was_draining = self._status.services.draining.is_announced
        self._require_changes().drain(call)
        return pb.DrainResponse(was_draining=was_draining).SerializeToString()

    async def _attach_table(self, message: bytes, call: Call) -> bytes:
        request = parsed(pb.AttachTableRequest(), message)
        found, unchanged, served = await self._require_changes().attach(call, request.name, request.checkpoint)
        tables = [
            _attached(name, manifest, unchanged=name in unchanged, served=served)
            for name, manifest in sorted(found.manifests.items())
        ]
        return pb.AttachTableResponse(tables=tables, unknown_hashing=found.unknown_hashing).SerializeToString()

    async def _drop_version(self, message: bytes, call: Call) -> bytes:
        request = parsed(pb.DropVersionRequest(), message)
        if bool(request.version) == request.whole_table:
            raise failures.malformed_request(MalformedMessage("name a version, or say that the whole table is meant"))
        gone = await self._require_changes().drop(call, request.table, request.version)
        return pb.DropVersionResponse(gone=gone).SerializeToString()

    def _require_changes(self) -> NodeChanges:
        if self._changes is None:
            raise failures.changes_elsewhere()
        return self._changes


def _attached(name: str, manifest: Manifest, *, unchanged: bool, served: bool) -> pb.AttachedTable:
    return pb.AttachedTable(
        name=name,
        version=manifest.version,
        num_rows=manifest.num_rows,
        num_bytes=manifest.num_bytes,
        fingerprint=manifest.fingerprint,
        unchanged=unchanged,
        served=served,
    )

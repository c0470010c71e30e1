"""ClusterService: the newest shard map that the node knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from engram_store.v1 import cluster_service_pb2 as pb
from store_server import failures
from store_server.access.caller import Scope
from store_server.services.call import Call
from store_server.services.calls import Calls, parsed
from store_server.services.draining import Draining
from store_server.services.visible_map import visible_to

if TYPE_CHECKING:
    from store_server.cluster.known_map import KnownMap

SERVICE: Final = "engram_store.v1.ClusterService"


class ClusterService:
    """Hands out `known`, the map of the node's cluster; None for a node that is in no cluster.

    A caller is shown the tables of it that it may read. A node of a cluster that knows no map yet says so: epoch 0
    would be taken for a node that stands alone.
    """

    def __init__(self, known: KnownMap | None, draining: Draining) -> None:
        self._known = known
        self._draining = draining

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves this service."""
        methods = {
            "GetShardMap": calls.one_reply(SERVICE, "GetShardMap", (Scope.READ, Scope.REPLICATE), self._get_shard_map)
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _get_shard_map(self, message: bytes, call: Call) -> bytes:
        request = parsed(pb.GetShardMapRequest(), message)
        if self._known is None:
            return pb.GetShardMapResponse(draining=self._draining.is_announced).SerializeToString()
        newest = self._known.message
        if newest is None:
            raise failures.starting("the shard map of its cluster")
        shard_map = visible_to(call.caller, newest) if newest.epoch > request.known_epoch else None
        return pb.GetShardMapResponse(
            epoch=newest.epoch, map=shard_map, draining=self._draining.is_announced
        ).SerializeToString()

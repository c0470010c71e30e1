"""What the nodes of a map answer by themselves, whatever others know of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from engram_store.shard_map import MAX_MAP_BYTES, to_message
from engram_store.v1 import cluster_service_pb2 as pb
from store_server.cluster.node_channel import NodeChannels

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap

_ANSWER_SECONDS: Final = 2.0
_METHOD: Final = "/engram_store.v1.ClusterService/GetShardMap"
_OPTIONS: Final = (("grpc.max_receive_message_length", MAX_MAP_BYTES + 1024),)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnswer:
    """What a node says that answers."""

    epoch: int | None
    """Of the map that it goes by; None for a node that knows none yet, 0 for one that is in no cluster."""
    is_stopping: bool = False
    """Whether it is about to stop, and serves still."""
    is_other_map: bool = False
    """Whether its map has the epoch of the one asked about, and says something else."""


async def node_answers(
    shard_map: ShardMap, *, seconds: float = _ANSWER_SECONDS, channels: NodeChannels | None = None
) -> Mapping[str, NodeAnswer]:
    """Ask all nodes of a map at once; returns the answers of those, by id, who give one within `seconds`.

    Raises CannotSpeakTo.
    """
    message, channels = to_message(shard_map), channels or NodeChannels()
    answers = await asyncio.gather(*(_answer(node.address, message, seconds, channels) for node in shard_map.nodes))
    found = zip(shard_map.nodes, answers, strict=True)
    return {node.id: answer for node, answer in found if answer is not None}


async def _answer(address: str, known: pb.ShardMap, seconds: float, channels: NodeChannels) -> NodeAnswer | None:
    request = pb.GetShardMapRequest(known_epoch=known.epoch - 1)  # to be given the map of this epoch
    async with channels.open_in_loop(address, tls=channels.security.scheme == "grpcs", options=_OPTIONS) as channel:
        ask = channel.unary_unary(
            _METHOD,
            request_serializer=pb.GetShardMapRequest.SerializeToString,
            response_deserializer=pb.GetShardMapResponse.FromString,
        )
        try:
            response = await ask(request, timeout=seconds, metadata=channels.metadata())
        except grpc.aio.AioRpcError as error:
            # Of a node that is there and knows no map yet; gRPC's own failures have no such metadata.
            has_details = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
            return NodeAnswer(epoch=None) if has_details else None
    is_other = response.epoch == known.epoch and response.map != known
    return NodeAnswer(epoch=response.epoch, is_stopping=response.draining, is_other_map=is_other)

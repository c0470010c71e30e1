"""Calls of every method of a node, with hostile messages and metadata. Each is answered with a status that fits it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import grpc
from fuzz.target import Wrong
from fuzz.wire.expected import Code, answer_to_message, seed_lookups
from fuzz.wire.node import FuzzedNode
from fuzz.wire_bytes import hostile_message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from engram_store.v1 import admin_service_pb2 as admin
from engram_store.v1 import block_service_pb2 as blocks
from engram_store.v1 import cluster_service_pb2 as cluster
from engram_store.v1 import lookup_service_pb2 as lookups
from engram_store.v1 import table_service_pb2 as tables

_TIME_LIMIT_SECONDS: Final = 10.0
_LOOKUP: Final = "/engram_store.v1.LookupService/Lookup"
_MOST_REPLIES: Final = 5  # read of a stream that may never end
_OURS: Final = {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED}
_HEALTH: Final = {Code.OK, Code.NOT_FOUND, Code.INVALID_ARGUMENT}
_REFLECTION: Final = {*_HEALTH, Code.UNKNOWN}  # gRPC's own service: what its parser cannot read is unknown to it
_LARGEST_METADATA: Final = 6000  # bytes that gRPC lets pass; more may be refused


_REQUEST_IDS: Final = ("", "a b", "x" * 128, "x" * 129, "../../etc/passwd", "%0a%0d", "[31m", "64", "-1", "9" * 5000)
_TRACEPARENTS: Final = (
    f"00-{'1' * 32}-{'2' * 16}-01",
    f"00-{'0' * 32}-{'0' * 16}-01",
    f"ff-{'f' * 32}-{'f' * 16}-ff",
    "00-" + "1" * 4000,
    "",
)


class Calls:
    """Makes one call after another on channels that are opened again now and then."""

    def __init__(self, node: FuzzedNode, channel: grpc.aio.Channel) -> None:
        self._node = node
        self._channel = channel
        self._lookups = [
            lookups.LookupRequest(table=each.table, version=each.version, rows=each.rows).SerializeToString()
            for each in seed_lookups(node)
        ]
        self._others = list(_other_methods(node))

    async def look_up(self, rng: random.Random) -> Counter[str]:
        """Call Lookup; the status and the rows are those that a lookup of this kind must have."""
        message = hostile_message(rng, self._lookups)
        expected = answer_to_message(self._node, message)
        code, replies = await called(self._channel, _LOOKUP, message, _metadata(rng))
        rows = lookups.LookupResponse.FromString(replies[0]).rows if replies else b""
        if (code, rows) != expected:
            raise Wrong(
                f"{message.hex()}: expected {expected.code} and {len(expected.rows)} bytes, got {code}, {rows!r:.99}"
            )
        return Counter((code.name,))

    async def call_any(self, rng: random.Random) -> Counter[str]:
        """Call any other method, some that there are not; the status is one that says what is wrong."""
        method, seeds, allowed = rng.choice(self._others)
        message = hostile_message(rng, seeds)
        metadata = _metadata(rng, most=40_000)
        code, _ = await called(self._channel, method, message, metadata)
        is_large = sum(len(key) + len(value) for key, value in metadata) > _LARGEST_METADATA
        if code not in allowed and not (is_large and code in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE)):
            raise Wrong(f"{method} {message.hex():.999}: got {code}")
        return Counter((code.name,))


async def called(
    channel: grpc.aio.Channel, method: str, message: bytes, metadata: Sequence[tuple[str, Any]]
) -> tuple[Code, list[bytes]]:
    """Call a method as if the reply were a stream, as which any reply can be read."""
    call = channel.unary_stream(method)(message, timeout=_TIME_LIMIT_SECONDS, metadata=metadata)
    replies: list[bytes] = []
    try:
        async for reply in call:
            replies.append(reply)
            if len(replies) == _MOST_REPLIES or method.endswith("/Watch"):
                return Code.OK, replies
        return await call.code(), replies
    except grpc.aio.AioRpcError as error:
        return error.code(), replies
    finally:
        call.cancel()


def _metadata(rng: random.Random, most: int = 1000) -> list[tuple[str, Any]]:
    match rng.randrange(8):
        case 0:
            return [("authorization", f"Bearer {rng.randbytes(rng.randrange(40)).hex()}")]
        case 1:
            return [("x-bin", rng.randbytes(rng.randrange(100))), ("x-bin", b""), ("grpc-previous-rpc-attempts", "-1")]
        case 2:
            return [(f"x-{number}", "y" * rng.randrange(20)) for number in range(rng.randrange(50))]
        case 3:
            return [("x-long", "y" * rng.randrange(most if rng.random() < 0.2 else _LARGEST_METADATA))]
        case 4:
            return [("x-request-id", rng.choice(_REQUEST_IDS)), ("traceparent", rng.choice(_TRACEPARENTS))]
        case 5:
            return [
                ("lookups-a-message", rng.choice(_REQUEST_IDS)),
                ("drops-given-up", "-1"),
                ("traceparent-bin", b"\xff"),
            ]
        case _:
            return []


def _other_methods(node: FuzzedNode) -> list[tuple[str, list[bytes], set[grpc.StatusCode]]]:
    names = [*((table, version) for table, version in node.versions.items()), *((way, way) for way in node.ways_out)]
    described = [tables.GetTableRequest(name=name, version=version) for name, version in names]
    manifests = [blocks.GetManifestRequest(table=name, version=version) for name, version in names]
    reads = [
        blocks.ReadBlocksRequest(table=name, version=version, first_block=first, num_blocks=number)
        for name, version in names
        for first, number in ((0, 1), (0, 0), (1, 1), (1 << 63, 1 << 63), ((1 << 64) - 1, 2), (0, 1025))
    ]
    maps = [cluster.GetShardMapRequest(known_epoch=epoch) for epoch in (0, 1, (1 << 64) - 1)]
    health = [health_pb2.HealthCheckRequest(service=name) for name, _ in names]
    reflected = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_by_filename="engram_store/v1/lookup_service.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="../../etc/passwd"),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="\0"),
    ]
    asked: tuple[tuple[str, Sequence[Any], set[grpc.StatusCode]], ...] = (
        ("engram_store.v1.TableService/ListTables", [tables.ListTablesRequest()], _OURS),
        ("engram_store.v1.TableService/GetTable", described, _OURS),
        ("engram_store.v1.AdminService/GetStatus", [admin.GetStatusRequest()], _OURS),
        ("engram_store.v1.ClusterService/GetShardMap", maps, _OURS),
        ("engram_store.v1.BlockService/GetManifest", manifests, _OURS),
        ("engram_store.v1.BlockService/ReadBlocks", reads, _OURS),
        ("grpc.health.v1.Health/Check", health, _HEALTH),
        ("grpc.health.v1.Health/Watch", health, _HEALTH),
        ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", reflected, _REFLECTION),
        ("engram_store.v1.LookupService/Drop", described, {Code.UNIMPLEMENTED}),
        ("engram_store.v1.BlockService/../LookupService/Lookup", described, {Code.UNIMPLEMENTED}),
        ("", described, {Code.UNIMPLEMENTED}),
    )
    return [(f"/{name}", [each.SerializeToString() for each in seeds], allowed) for name, seeds, allowed in asked]

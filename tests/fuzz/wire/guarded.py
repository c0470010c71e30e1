"""Calls of a node that asks who calls, with credentials that are right, nearly right, of others or not there at all."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

import grpc
from fuzz.of_credentials import TOKENS, hostile_header, is_let_in
from fuzz.target import Wrong
from fuzz.wire.calls import called
from fuzz.wire.expected import Answer, Code, answer_to_message, seed_lookups
from fuzz.wire.node import READER, SOME_READER, FuzzedNode
from fuzz.wire_bytes import hostile_message

from engram_store.v1 import admin_service_pb2 as admin
from engram_store.v1 import lookup_service_pb2 as lookups

_LOOKUP: Final = "/engram_store.v1.LookupService/Lookup"
_TO_READERS: Final = {Code.PERMISSION_DENIED, Code.NOT_FOUND, Code.INVALID_ARGUMENT}
"""What those are told who may read and ask for a change: what is forbidden looks like what is missing."""


class Guarded:
    """Makes one call after another."""

    def __init__(self, node: FuzzedNode, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._seen = {SOME_READER: node.seen_by("m/layer-1"), READER: node}
        self._lookups = [
            lookups.LookupRequest(table=each.table, version=each.version, rows=each.rows).SerializeToString()
            for each in seed_lookups(node)
        ]
        self._changes = list(_changes(node))

    async def call(self, rng: random.Random) -> Counter[str]:
        """Look up, mostly; who is not let in gets nothing, who may not see a table is told that there is none."""
        metadata = _metadata(rng)
        headers = [value for key, value in metadata if key == "authorization"]
        shown = next((token for token in self._seen if is_let_in(headers, (token,))), None)
        if rng.random() < 0.2:
            return await self._change(rng, metadata, {Code.UNAUTHENTICATED} if shown is None else _TO_READERS)
        message = hostile_message(rng, self._lookups)
        expected = Answer(Code.UNAUTHENTICATED) if shown is None else answer_to_message(self._seen[shown], message)
        code, replies = await called(self._channel, _LOOKUP, message, metadata)
        rows = lookups.LookupResponse.FromString(replies[0]).rows if replies else b""
        if (code, rows) != expected:
            raise Wrong(f"{metadata} {message.hex()}: expected {expected.code}, got {code} and {rows!r:.99}")
        return Counter((code.name,))

    async def _change(
        self, rng: random.Random, metadata: list[tuple[str, Any]], allowed: set[grpc.StatusCode]
    ) -> Counter[str]:
        """Ask for what none of the tokens may do."""
        method, seed = rng.choice(self._changes)
        message = hostile_message(rng, (seed,))
        code, replies = await called(self._channel, method, message, metadata)
        if code not in allowed or replies:
            raise Wrong(f"{method} {message.hex():.999} with {metadata}: got {code} {replies}")
        return Counter((code.name,))


def _metadata(rng: random.Random) -> list[tuple[str, Any]]:
    shown = [_header(rng) for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 2)))]
    beside = [("x-request-id", "a b")] if rng.random() < 0.2 else []
    return [*(("authorization", text) for text in shown), *beside]


def _header(rng: random.Random) -> str:
    token = rng.choice(TOKENS)
    return f"Bearer {token.text()}" if rng.random() < 0.6 else _as_text(hostile_header(rng, token))


def _as_text(header: bytes) -> str:
    """Return a header as gRPC takes one: other characters it refuses to send."""
    return "".join(chr(byte) if 32 < byte < 127 else " " for byte in header).strip()


def _changes(node: FuzzedNode) -> list[tuple[str, bytes]]:
    requests = [
        ("Drain", admin.DrainRequest()),
        *(("AttachTable", admin.AttachTableRequest(name="m", checkpoint=way)) for way in node.ways_out),
        ("DropVersion", admin.DropVersionRequest(table="m/layer-1", whole_table=True)),
        ("DropVersion", admin.DropVersionRequest(table="tree", version=node.versions["tree"])),
    ]
    return [(f"/engram_store.v1.AdminService/{name}", request.SerializeToString()) for name, request in requests]

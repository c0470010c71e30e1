"""What a node must answer to a lookup, by the words of the .proto files and NumPy alone."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import grpc
import numpy as np
from fuzz.wire.node import FuzzedNode
from google.protobuf.message import DecodeError

from engram_store.v1 import lookup_service_pb2 as pb

_NAME: Final = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_MOST_LOOKUPS: Final = 64
Code = grpc.StatusCode


class Answer(NamedTuple):
    """A status, and the rows beside OK."""

    code: grpc.StatusCode
    rows: bytes = b""


def answer_to_message(node: FuzzedNode, message: bytes) -> Answer:
    """Return what comes of a LookupRequest."""
    request = pb.LookupRequest()
    try:
        request.ParseFromString(message)
    except DecodeError:
        return Answer(Code.INVALID_ARGUMENT)
    return answer_to(node, request)


def lookups_in(message: bytes) -> list[pb.LookupStreamRequest] | None:
    """Return the lookups of a LookupStreamRequest, None for a message that ends the stream."""
    request = pb.LookupStreamRequest()
    try:
        request.ParseFromString(message)
    except DecodeError:
        return None
    several = [request, *request.more]
    return None if len(several) > _MOST_LOOKUPS or any(each.more for each in several[1:]) else several


def given_up_in(message: bytes) -> list[int]:
    """Return the ids that a message gives up which does nothing else, as a client writes it."""
    request = pb.LookupStreamRequest()
    try:
        request.ParseFromString(message)
    except DecodeError:
        return []
    ids = list(request.given_up)
    return ids if pb.LookupStreamRequest(given_up=ids).SerializeToString() == message else []


def answer_to(node: FuzzedNode, request: Any) -> Answer:
    """Return what comes of a lookup that could be read."""
    if request.table not in node.rows:
        return Answer(Code.NOT_FOUND if _NAME.fullmatch(request.table) else Code.INVALID_ARGUMENT)
    if request.version not in ("", node.versions[request.table]):
        return Answer(Code.NOT_FOUND)
    rows = node.rows[request.table]
    if len(request.rows) > ((4 << 20) - 4096) // rows.shape[1]:
        return Answer(Code.RESOURCE_EXHAUSTED)
    wanted = np.array(request.rows, np.uint64)
    if wanted.size and wanted.max() >= len(rows):
        return Answer(Code.OUT_OF_RANGE)
    return Answer(Code.OK, rows[wanted.astype(np.int64)].tobytes())


def seed_lookups(node: FuzzedNode) -> list[pb.LookupStreamRequest]:
    """Return lookups that are in order, but for names that lead out of the root."""
    seeds = []
    for number, (table, version) in enumerate(node.versions.items()):
        for rows in ([], [0], [5, 5, 2], range(0, 3000, 50), [2999], [3000], [1 << 63]):
            seeds.append(pb.LookupStreamRequest(id=len(seeds), table=table, version=version * (number % 2), rows=rows))
    seeds += [pb.LookupStreamRequest(id=7, table=way, rows=[0]) for way in node.ways_out]
    seeds += [pb.LookupStreamRequest(id=8, table="tree", version=way, rows=[0]) for way in node.ways_out]
    return seeds

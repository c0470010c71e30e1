"""The hot codec beside protobuf's own parser: both read the same of any bytes, or both refuse them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.wire_bytes import hostile_message
from google.protobuf.message import DecodeError, Message

from engram_store import codec
from engram_store.v1 import lookup_service_pb2 as pb

_NAME, _VERSION = "v41-flash/layer-1", "0123456789abcdef" * 2
_Read: TypeAlias = list[tuple[Any, ...]]


class _Kind(NamedTuple):
    """A message that the codec reads: what it reads in it, what protobuf does, and some to begin with."""

    read: Callable[[bytes], _Read]
    message: type[Message]
    values: Callable[[Any], tuple[Any, ...]]
    is_of_several: bool
    seeds: list[bytes]


def codec_target(_: Path) -> contextlib.AbstractContextManager[TryOne]:
    """Read requests and replies, of one lookup and of several."""
    return contextlib.nullcontext(_try_one)


def _try_one(rng: random.Random) -> str:
    kind = rng.choice(_KINDS)
    message = hostile_message(rng, kind.seeds)
    expected = _as_protobuf_reads(kind, message)
    try:
        found = kind.read(message)
    except codec.MalformedMessage:
        found = None
    if found != expected:
        raise Wrong(f"{kind.message.__name__} {message.hex()}: protobuf reads {expected}, the codec {found}")
    return REFUSED if found is None else ACCEPTED


def _as_protobuf_reads(kind: _Kind, data: bytes) -> _Read | None:
    """What protobuf reads, None for what it refuses and for what the .proto forbids beside its grammar."""
    message = kind.message()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    several = [message, *message.more] if kind.is_of_several else [message]
    if len(several) > codec.MOST_LOOKUPS_A_MESSAGE or any(each.more for each in several[1:]):
        return None
    return [kind.values(each) for each in several]


def _requests(found: list[codec.Request]) -> _Read:
    return [(each.id, each.table, each.version, [row % (1 << 64) for row in each.rows.tolist()]) for each in found]


def _replies(found: list[codec.Reply]) -> _Read:
    return [(each.id, each.version, each.rows.tobytes(), _failure(each.failure), each.is_draining) for each in found]


def _failure(failure: codec.Failure | None) -> tuple[Any, ...] | None:
    return failure and (failure.code, failure.message, dict(failure.metadata))


def _values_of_request(message: pb.LookupStreamRequest) -> tuple[Any, ...]:
    return message.id, message.table, message.version, list(message.rows)


def _values_of_reply(message: pb.LookupStreamResponse) -> tuple[Any, ...]:
    failure = message.failure
    told = (failure.code, failure.message, dict(failure.metadata)) if message.HasField("failure") else None
    return message.id, message.version, message.rows, told, message.draining


def _seeds() -> Iterator[pb.LookupStreamRequest]:
    for number, rows in enumerate(([], [0], [1, 2, 3], list(range(40)), [(1 << 64) - 1, 1 << 63])):
        yield pb.LookupStreamRequest(id=number, table=_NAME, version=_VERSION if number % 2 else "", rows=rows)


def _seed_replies() -> Iterator[pb.LookupStreamResponse]:
    for number, rows in enumerate((b"", b"x", bytes(range(200)))):
        yield pb.LookupStreamResponse(id=number, version=_VERSION, rows=rows, draining=number == 1)
    yield pb.LookupStreamResponse(id=9, failure=pb.Failure(code=5, message="no", reason=2, metadata={"table": _NAME}))


def _with_more(messages: list[Any]) -> list[bytes]:
    several = type(messages[0])()
    several.CopyFrom(messages[-1])
    several.more.extend(messages)
    return [each.SerializeToString() for each in (*messages, several)]


_KINDS: Final = (
    _Kind(
        lambda data: _requests([codec.decode_lookup_request(data)]),
        pb.LookupRequest,
        lambda message: (0, message.table, message.version, list(message.rows)),
        False,
        [
            pb.LookupRequest(table=each.table, version=each.version, rows=each.rows).SerializeToString()
            for each in _seeds()
        ],
    ),
    _Kind(
        lambda data: _requests(codec.decode_stream_requests(data)),
        pb.LookupStreamRequest,
        _values_of_request,
        True,
        _with_more(list(_seeds())),
    ),
    _Kind(
        lambda data: _replies([codec.decode_lookup_reply(data)]),
        pb.LookupResponse,
        lambda message: (0, message.version, message.rows, None, False),
        False,
        [pb.LookupResponse(version=each.version, rows=each.rows).SerializeToString() for each in _seed_replies()],
    ),
    _Kind(
        lambda data: _replies(codec.decode_stream_replies(data)),
        pb.LookupStreamResponse,
        _values_of_reply,
        True,
        _with_more(list(_seed_replies())),
    ),
)

"""Lookup messages to and from bytes without protobuf's copies.

Row numbers and rows are arrays, and as `packed fixed64` and `bytes` their payload on the wire is the array itself. So
this codec writes the few bytes around the array and reads the array where it lies. What it writes is what protobuf
would write, byte for byte; what it does not recognise at once (fields in another order, unknown fields, unpacked
numbers) it hands to protobuf, so every legal encoding is understood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from engram_store.v1 import error_reason_pb2
from engram_store.v1 import lookup_service_pb2 as pb
from engram_store.wire_fields import (
    FIXED64,
    LEN,
    Fill,
    FilledField,
    Int64Array,
    Parts,
    Span,
    Uint8Array,
    UnusualLayout,
    embedded,
    embedded_filled,
    head,
    id_field,
    message_of,
    name_fields,
    packed,
    payload,
    read_id,
    read_payload,
    read_rows,
    read_text,
    spans,
    spans_of_several,
    text_field,
)

MOST_LOOKUPS_A_MESSAGE: Final = 64
LOOKUPS_A_MESSAGE_KEY: Final = "lookups-a-message"
"""Initial metadata of a stream by which a node says how many lookups it takes in one message; one if it is absent."""
DROPS_GIVEN_UP_KEY: Final = "drops-given-up"
"""Initial metadata of a stream by which a node says that it wants to hear of lookups that were given up."""
_MORE: Final = 5  # the field of a stream's messages that has further ones
_TRACEPARENT: Final = 7  # the last field of a request on a stream
_GIVEN_UP: Final = 6  # the field of a request on a stream that is alone in its message
_DRAINING: Final = b"\x30\x01"  # the last field of a reply on a stream, so rare that reading it is left to protobuf


class MalformedMessage(ValueError):
    """The bytes are not the message they should be."""


class Request(NamedTuple):
    """One lookup: `rows` int64 (n,), read-only, as the wire had them (a number above 2^63 - 1 shows as negative).

    `traceparent` is the span that it is part of, "" for none.
    """

    id: int
    table: str
    version: str
    rows: Int64Array
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a lookup failed: a gRPC status number, a sentence, and the stable reason (ErrorReason without prefix)."""

    code: int
    message: str
    reason: str
    metadata: Mapping[str, str]


class Reply(NamedTuple):
    """One answer: `rows` uint8 (n * row_bytes,), read-only, or a failure; and whether the node is about to stop."""

    id: int
    version: str
    rows: Uint8Array
    failure: Failure | None
    is_draining: bool = False


class Answer(NamedTuple):
    """A reply whose rows of `shape` (n, row_bytes) are still to be written, by `fill`."""

    id: int
    version: str
    shape: tuple[int, int]
    fill: Fill


def encode_lookup_request(table: str, version: str, rows: Int64Array) -> bytes:
    """Return the LookupRequest for `rows` (n,), which must not be negative."""
    return b"".join((name_fields(1, table, version), *packed(3, rows)))


def decode_lookup_request(message: bytes) -> Request:
    """Return the lookup that `message` asks for, with id 0; raises MalformedMessage."""
    try:
        table, version, rows = spans(message, (LEN, LEN, LEN))
        return Request(0, read_text(message, table), read_text(message, version), read_rows(message, rows))
    except UnusualLayout:
        parsed = _parse(pb.LookupRequest(), message)
        return Request(0, parsed.table, parsed.version, _rows_of(parsed.rows))


def encode_lookup_reply(version: str, rows: Uint8Array) -> bytes:
    """Return the LookupResponse that holds `rows`, C-contiguous uint8 of any shape."""
    return b"".join((name_fields(1, version), *payload(2, rows)))


def fill_lookup_reply(answer: Answer) -> bytes | None:
    """Return the LookupResponse with the rows of `answer`; None if they cannot be written now."""
    return message_of([_filled(name_fields(1, answer.version), 2, answer)])


def decode_lookup_reply(message: bytes) -> Reply:
    """Return the rows that `message` holds, with id 0; raises MalformedMessage."""
    try:
        version, rows = spans(message, (LEN, LEN))
        return Reply(0, read_text(message, version), read_payload(message, rows), None)
    except UnusualLayout:
        parsed = _parse(pb.LookupResponse(), message)
        return Reply(0, parsed.version, np.frombuffer(parsed.rows, np.uint8), None)


def encode_stream_requests(requests: Iterable[Request]) -> bytes:
    """Return the LookupStreamRequest for at least one lookup, of rows (n,) that must not be negative."""
    first, *others = requests
    more = (embedded(_MORE, (*_lookup_fields(each), *_trace_field(each))) for each in others)
    return b"".join((*_lookup_fields(first), *chain.from_iterable(more), *_trace_field(first)))


def decode_stream_requests(message: bytes) -> list[Request]:
    """Return the lookups that `message` asks for, at most MOST_LOOKUPS_A_MESSAGE; raises MalformedMessage."""
    try:
        found = spans_of_several(message, (FIXED64, LEN, LEN, LEN), _MORE, MOST_LOOKUPS_A_MESSAGE, _TRACEPARENT)
        return [_read_request(message, *each) for each in found]
    except UnusualLayout:
        parsed = _parse_several(pb.LookupStreamRequest(), message)
        return [Request(each.id, each.table, each.version, _rows_of(each.rows), each.traceparent) for each in parsed]


def encode_given_up(ids: Sequence[int]) -> bytes:
    """Return the LookupStreamRequest by which lookups are given up, at least one."""
    return b"".join(payload(_GIVEN_UP, np.array(ids, "<u8").view(np.uint8)))


def decode_given_up(message: bytes) -> list[int] | None:
    """Return the ids of lookups that `message` gives up, None if it is one of lookups; raises MalformedMessage."""
    if not message.startswith(_GIVEN_UP_ALONE):
        return None
    parsed = _parse(pb.LookupStreamRequest(), message)
    if parsed.ByteSize() != len(pb.LookupStreamRequest(given_up=parsed.given_up).SerializeToString()):
        raise MalformedMessage(f"{len(message)} bytes give lookups up and hold something else")
    return list(parsed.given_up)


def encode_stream_reply(request_id: int, version: str, rows: Uint8Array) -> bytes:
    """Return the LookupStreamResponse that holds `rows`, C-contiguous uint8 of any shape."""
    return b"".join((id_field(request_id), name_fields(2, version), *payload(3, rows)))


def fill_stream_replies(answers: Sequence[Answer]) -> bytes | None:
    """Return the LookupStreamResponse with the rows of all of `answers`; None if some cannot be written now."""
    fields = [_filled(id_field(each.id) + name_fields(2, each.version), 3, each) for each in answers]
    if len(fields) > 1:
        fields[1:] = [embedded_filled(_MORE, each) for each in fields[1:]]
    return message_of(fields)


def encode_stream_failure(request_id: int, failure: Failure) -> bytes:
    """Return the LookupStreamResponse that says why the lookup failed."""
    message = pb.LookupStreamResponse(
        id=request_id,
        failure=pb.Failure(
            code=failure.code,
            message=failure.message,
            reason=_REASON_PREFIX + failure.reason,
            metadata=failure.metadata,
        ),
    )
    return message.SerializeToString()


def with_draining(stream_reply: bytes) -> bytes:
    """Return a LookupStreamResponse that says, besides what the given one says, that the node is about to stop."""
    return stream_reply + _DRAINING


def decode_stream_replies(message: bytes) -> list[Reply]:
    """Return the rows or the failures that `message` holds, at most MOST_LOOKUPS_A_MESSAGE; raises MalformedMessage."""
    try:
        found = spans_of_several(message, (FIXED64, LEN, LEN), _MORE, MOST_LOOKUPS_A_MESSAGE)
        return [_read_reply(message, *each) for each in found]
    except UnusualLayout:
        return [_reply_of(each) for each in _parse_several(pb.LookupStreamResponse(), message)]


_GIVEN_UP_ALONE: Final = bytes((_GIVEN_UP << 3 | LEN,))
_REASON_PREFIX: Final = "ERROR_REASON_"


def _lookup_fields(request: Request) -> Parts:
    names = id_field(request.id) + name_fields(2, request.table, request.version)
    return (names, *packed(4, request.rows))


def _trace_field(request: Request) -> Parts:
    return text_field(_TRACEPARENT, request.traceparent)


def _read_request(
    message: bytes, number: Span, table: Span, version: Span, rows: Span, traceparent: Span = (0, 0)
) -> Request:
    return Request(
        read_id(message, number),
        read_text(message, table),
        read_text(message, version),
        read_rows(message, rows),
        read_text(message, traceparent) if traceparent[1] else "",
    )


def _read_reply(message: bytes, number: Span, version: Span, rows: Span) -> Reply:
    return Reply(read_id(message, number), read_text(message, version), read_payload(message, rows), None)


def _filled(names: bytes, field: int, answer: Answer) -> FilledField:
    num_rows, row_bytes = answer.shape
    return FilledField(names + head(field, num_rows * row_bytes), answer.shape, answer.fill)


def _rows_of(numbers: object) -> Int64Array:
    return np.array(numbers, np.uint64).view(np.int64)  # numbers of this host, in its own order of bytes


def _reply_of(parsed: pb.LookupStreamResponse) -> Reply:
    failure = _failure_of(parsed.failure) if parsed.HasField("failure") else None
    return Reply(parsed.id, parsed.version, np.frombuffer(parsed.rows, np.uint8), failure, parsed.draining)


def _failure_of(failure: pb.Failure) -> Failure:
    try:
        reason = error_reason_pb2.ErrorReason.Name(failure.reason).removeprefix(_REASON_PREFIX)
    except ValueError:  # a newer node knows more reasons than we do
        reason = f"REASON_{failure.reason}"
    return Failure(failure.code, failure.message, reason, dict(failure.metadata))


_Message = TypeVar("_Message", bound=Message)
_StreamMessage = TypeVar("_StreamMessage", pb.LookupStreamRequest, pb.LookupStreamResponse)


def _parse(message: _Message, data: bytes) -> _Message:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise MalformedMessage(f"{len(data)} bytes are no {type(message).__name__}: {error}") from error
    return message


def _parse_several(message: _StreamMessage, data: bytes) -> list[_StreamMessage]:
    what = f"{len(data)} bytes are no {type(message).__name__}"
    number = 1 + len(_parse(message, data).more)
    if number > MOST_LOOKUPS_A_MESSAGE:  # before an object is made for each
        raise MalformedMessage(f"{what}: {number} lookups in one message, at most {MOST_LOOKUPS_A_MESSAGE}")
    several = [message, *message.more]
    if any(each.more for each in several[1:]):
        raise MalformedMessage(f"{what}: one of its `more` has `more` of its own")
    return several

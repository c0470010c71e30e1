"""Lookup messages to and from bytes without protobuf's copies.

Row numbers and rows are arrays, and as `packed fixed64` and `bytes` their payload on the wire is the array itself. So
this codec writes the few bytes around the array and reads the array where it lies. What it writes is what protobuf
would write, byte for byte; what it does not recognise at once (fields in another order, unknown fields, unpacked
numbers) it hands to protobuf, so every legal encoding is understood.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from engram_store.v1 import error_reason_pb2
from engram_store.v1 import lookup_service_pb2 as pb

Int64Array: TypeAlias = NDArray[np.int64]
Uint8Array: TypeAlias = NDArray[np.uint8]

_FIXED64: Final = 1
_LEN: Final = 2
_DRAINING: Final = b"\x30\x01"  # the last field of a reply on a stream, so rare that reading it is left to protobuf
# Row numbers are below 2^63, where fixed64 and int64 have the same bytes. The wire's order of bytes is little-endian,
# whatever that of this host is, or of the array that is sent.
_WIRE_ROWS: Final = np.dtype("<i8")
# Fewer bytes are copied into a message sooner than a message is made in which they can be written.
_LEAST_BYTES_WRITTEN_IN_PLACE: Final = 128 << 10
_NAMES_KEPT: Final = 1024  # encoded: the few tables that are asked for all the time; each is a few hundred bytes


# Writes rows into an array uint8 (n, row_bytes), C-contiguous, that it must not keep; False if it cannot now.
Fill: TypeAlias = Callable[[Uint8Array], bool]


class MalformedMessage(ValueError):
    """The bytes are not the message they should be."""


class Request(NamedTuple):
    """One lookup: `rows` int64 (n,), read-only, as the wire had them (a number above 2^63 - 1 shows as negative)."""

    id: int
    table: str
    version: str
    rows: Int64Array


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


def encode_lookup_request(table: str, version: str, rows: Int64Array) -> bytes:
    """Return the LookupRequest for `rows` (n,), which must not be negative."""
    return b"".join((_names(1, table, version), *_packed(3, rows)))


def decode_lookup_request(message: bytes) -> Request:
    """Return the lookup that `message` asks for, with id 0; raises MalformedMessage."""
    try:
        table, version, rows = _spans(message, (_LEN, _LEN, _LEN))
        return Request(0, _read_text(message, table), _read_text(message, version), _read_rows(message, rows))
    except _UnusualLayout:
        parsed = _parse(pb.LookupRequest(), message)
        return Request(0, parsed.table, parsed.version, _rows_of(parsed.rows))


def encode_lookup_reply(version: str, rows: Uint8Array) -> bytes:
    """Return the LookupResponse that holds `rows`, C-contiguous uint8 of any shape."""
    return b"".join((_names(1, version), *_payload(2, rows)))


def fill_lookup_reply(version: str, shape: tuple[int, int], fill: Fill) -> bytes | None:
    """Return the LookupResponse whose rows of `shape` (n, row_bytes) `fill` writes; None if it does not."""
    return _filled(_names(1, version), 2, shape, fill)


def decode_lookup_reply(message: bytes) -> Reply:
    """Return the rows that `message` holds, with id 0; raises MalformedMessage."""
    try:
        version, rows = _spans(message, (_LEN, _LEN))
        return Reply(0, _read_text(message, version), _read_payload(message, rows), None)
    except _UnusualLayout:
        parsed = _parse(pb.LookupResponse(), message)
        return Reply(0, parsed.version, np.frombuffer(parsed.rows, np.uint8), None)


def encode_stream_request(request_id: int, table: str, version: str, rows: Int64Array) -> bytes:
    """Return the LookupStreamRequest for `rows` (n,), which must not be negative."""
    return b"".join((_id(request_id), _names(2, table, version), *_packed(4, rows)))


def decode_stream_request(message: bytes) -> Request:
    """Return the lookup that `message` asks for; raises MalformedMessage."""
    try:
        number, table, version, rows = _spans(message, (_FIXED64, _LEN, _LEN, _LEN))
        return Request(
            _read_id(message, number),
            _read_text(message, table),
            _read_text(message, version),
            _read_rows(message, rows),
        )
    except _UnusualLayout:
        parsed = _parse(pb.LookupStreamRequest(), message)
        return Request(parsed.id, parsed.table, parsed.version, _rows_of(parsed.rows))


def encode_stream_reply(request_id: int, version: str, rows: Uint8Array) -> bytes:
    """Return the LookupStreamResponse that holds `rows`, C-contiguous uint8 of any shape."""
    return b"".join((_id(request_id), _names(2, version), *_payload(3, rows)))


def fill_stream_reply(request_id: int, version: str, shape: tuple[int, int], fill: Fill) -> bytes | None:
    """Return the LookupStreamResponse whose rows of `shape` (n, row_bytes) `fill` writes; None if it does not."""
    return _filled(_id(request_id) + _names(2, version), 3, shape, fill)


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


def decode_stream_reply(message: bytes) -> Reply:
    """Return the rows or the failure that `message` holds; raises MalformedMessage."""
    try:
        number, version, rows = _spans(message, (_FIXED64, _LEN, _LEN))
        return Reply(_read_id(message, number), _read_text(message, version), _read_payload(message, rows), None)
    except _UnusualLayout:
        parsed = _parse(pb.LookupStreamResponse(), message)
        failure = _failure_of(parsed.failure) if parsed.HasField("failure") else None
        return Reply(parsed.id, parsed.version, np.frombuffer(parsed.rows, np.uint8), failure, parsed.draining)


_REASON_PREFIX: Final = "ERROR_REASON_"
_Span: TypeAlias = tuple[int, int]  # start and end of a field's payload; (0, 0) when the field is absent


class _UnusualLayout(Exception):
    """The message is not laid out as we write it, which protobuf allows."""


def _spans(message: bytes, wire_types: tuple[int, ...]) -> list[_Span]:
    """Find the fields 1, 2, ... of the given wire types, each at most once and in order."""
    num_fields, end = len(wire_types), len(message)
    spans: list[_Span] = [(0, 0)] * num_fields
    position = next_field = 0
    while position < end:
        tag = message[position]
        field = (tag >> 3) - 1
        if not next_field <= field < num_fields or tag & 7 != wire_types[field]:
            raise _UnusualLayout
        start = position + 1
        if tag & 7 == _LEN:
            size, start = _read_varint(message, start)
            position = start + size
        else:
            position = start + 8
        if position > end:
            raise _UnusualLayout
        spans[field] = (start, position)
        next_field = field + 1
    return spans


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position` and where it ends."""
    if position < len(message) and message[position] < 0x80:  # most are short
        return message[position], position + 1
    value = 0
    for index, byte in enumerate(message[position : position + 5]):  # five bytes hold every size a message can have
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise _UnusualLayout


def _read_id(message: bytes, span: _Span) -> int:
    return int.from_bytes(message[span[0] : span[1]], "little")


def _read_text(message: bytes, span: _Span) -> str:
    try:
        return message[span[0] : span[1]].decode("utf-8")
    except UnicodeDecodeError:
        raise _UnusualLayout from None  # protobuf says what is wrong with it


def _read_rows(message: bytes, span: _Span) -> Int64Array:
    size = span[1] - span[0]
    if size % 8:
        raise _UnusualLayout
    return np.frombuffer(message, _WIRE_ROWS, count=size // 8, offset=span[0]).astype(np.int64, copy=False)


def _read_payload(message: bytes, span: _Span) -> Uint8Array:
    return np.frombuffer(message, np.uint8, count=span[1] - span[0], offset=span[0])


def _rows_of(numbers: object) -> Int64Array:
    return np.array(numbers, np.uint64).view(np.int64)  # numbers of this host, in its own order of bytes


def _failure_of(failure: pb.Failure) -> Failure:
    try:
        reason = error_reason_pb2.ErrorReason.Name(failure.reason).removeprefix(_REASON_PREFIX)
    except ValueError:  # a newer node knows more reasons than we do
        reason = f"REASON_{failure.reason}"
    return Failure(failure.code, failure.message, reason, dict(failure.metadata))


_Message = TypeVar("_Message", bound=Message)


def _parse(message: _Message, data: bytes) -> _Message:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise MalformedMessage(f"{len(data)} bytes are no {type(message).__name__}: {error}") from error
    return message


def _id(number: int) -> bytes:
    return b"\x09" + number.to_bytes(8, "little") if number else b""


def _text(field: int, text: str) -> bytes:
    encoded = text.encode("utf-8")
    return bytes((field << 3 | _LEN,)) + _varint(len(encoded)) + encoded if encoded else b""


@lru_cache(maxsize=_NAMES_KEPT)
def _names(first_field: int, *names: str) -> bytes:
    """Return consecutive fields of text."""
    return b"".join(_text(field, name) for field, name in enumerate(names, first_field))


def _packed(field: int, rows: Int64Array) -> tuple[bytes, memoryview]:
    return _payload(field, np.ascontiguousarray(rows, _WIRE_ROWS).view(np.uint8))


def _payload(field: int, array: Uint8Array) -> tuple[bytes, memoryview]:
    if array.nbytes == 0:
        return b"", memoryview(b"")
    return _head(field, array.nbytes), array.data


def _head(field: int, num_bytes: int) -> bytes:
    """Return what comes before a payload."""
    return bytes((field << 3 | _LEN,)) + _varint(num_bytes)


def _filled(names: bytes, field: int, shape: tuple[int, int], fill: Fill) -> bytes | None:
    num_bytes = shape[0] * shape[1]
    if num_bytes < _LEAST_BYTES_WRITTEN_IN_PLACE:
        rows = np.empty(shape, np.uint8)
        return b"".join((names, *_payload(field, rows))) if fill(rows) else None
    # gRPC takes nothing but `bytes`, which cannot be written to. A BytesIO hands out its own buffer as such, without a
    # copy, once nothing refers to it any more; that is why `fill` must keep nothing.
    message = io.BytesIO()
    message.write(names + _head(field, num_bytes))
    first_byte = message.tell()
    message.seek(num_bytes - 1, io.SEEK_CUR)
    message.write(b"\0")
    buffer = message.getbuffer()
    if not fill(np.frombuffer(buffer, np.uint8, offset=first_byte).reshape(shape)):
        return None
    buffer.release()
    return message.getvalue()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)

"""Fields of protobuf messages: written around arrays, and found where they lie, without a copy of the arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64Array: TypeAlias = NDArray[np.int64]
Uint8Array: TypeAlias = NDArray[np.uint8]
Parts: TypeAlias = tuple[bytes | memoryview, ...]  # of a message, one behind the other; each of one dimension
Span: TypeAlias = tuple[int, int]  # start and end of a field's payload; (0, 0) when the field is absent
# Writes rows into an array uint8 (n, row_bytes), C-contiguous, that it must not keep; False if it cannot now.
Fill: TypeAlias = Callable[[Uint8Array], bool]

FIXED64: Final = 1
LEN: Final = 2
# Row numbers are below 2^63, where fixed64 and int64 have the same bytes. The wire's order of bytes is little-endian,
# whatever that of this host is, or of the array that is sent.
_WIRE_ROWS: Final = np.dtype("<i8")
# Fewer bytes are copied into a message sooner than a message is made in which they can be written.
_LEAST_BYTES_WRITTEN_IN_PLACE: Final = 128 << 10
_NAMES_KEPT: Final = 1024  # encoded: the few tables that are asked for all the time; each is a few hundred bytes
_OPENINGS_KEPT: Final = 4096  # a few bytes each: lookups of the same few sizes come again and again


class UnusualLayout(Exception):
    """The message is not laid out as we write it, which protobuf allows."""


class FilledField(NamedTuple):
    """The last field of a message: `fill` writes its payload of `shape` (n, row_bytes), `before` is all before it."""

    before: bytes
    shape: tuple[int, int]
    fill: Fill

    @property
    def num_bytes(self) -> int:
        """Length of the payload."""
        return self.shape[0] * self.shape[1]


def spans(message: bytes, wire_types: tuple[int, ...]) -> list[Span]:
    """Find the fields 1, 2, ... of the given wire types, each at most once and in order."""
    found, position = _leading_spans(message, 0, len(message), wire_types)
    if position != len(message):
        raise UnusualLayout
    return found


def spans_of_several(
    message: bytes, wire_types: tuple[int, ...], more: int, most: int, last: int = 0
) -> list[list[Span]]:
    """Find those fields of a message, and of up to `most` - 1 messages like it that are its fields `more`.

    Behind the spans of a message whose last field is `last`, a LEN, comes the span of that one.
    """
    found, position = _leading_spans(message, 0, len(message), wire_types)
    of_several = [found]
    while position < len(message) and message[position] == more << 3 | LEN:
        if len(of_several) == most:
            raise UnusualLayout
        size, start = _read_varint(message, position + 1)
        end = start + size
        if end > len(message):
            raise UnusualLayout
        inner, position = _leading_spans(message, start, end, wire_types)
        if position != end:
            inner.append(_last_span(message, position, end, last))
            position = end
        of_several.append(inner)
    if position != len(message):
        found.append(_last_span(message, position, len(message), last))
    return of_several


def read_id(message: bytes, span: Span) -> int:
    """Return a fixed64."""
    return int.from_bytes(message[span[0] : span[1]], "little")


def read_text(message: bytes, span: Span) -> str:
    """Return a string."""
    try:
        return message[span[0] : span[1]].decode("utf-8")
    except UnicodeDecodeError:
        raise UnusualLayout from None  # protobuf says what is wrong with it


def read_rows(message: bytes, span: Span) -> Int64Array:
    """Return packed fixed64 as they lie in the message, read-only."""
    size = span[1] - span[0]
    if size % 8:
        raise UnusualLayout
    return np.frombuffer(message, _WIRE_ROWS, count=size // 8, offset=span[0]).astype(np.int64, copy=False)


def read_payload(message: bytes, span: Span) -> Uint8Array:
    """Return bytes as they lie in the message, read-only."""
    return np.frombuffer(message, np.uint8, count=span[1] - span[0], offset=span[0])


def id_field(number: int) -> bytes:
    """Return field 1, a fixed64."""
    return b"\x09" + number.to_bytes(8, "little") if number else b""


@lru_cache(maxsize=_NAMES_KEPT)
def name_fields(first_field: int, *names: str) -> bytes:
    """Return consecutive fields of text."""
    return b"".join(_text(field, name) for field, name in enumerate(names, first_field))


def text_field(field: int, text: str) -> Parts:
    """Return a field of text, none if it is empty."""
    return (_text(field, text),) if text else ()


def packed(field: int, rows: Int64Array) -> Parts:
    """Return a field of packed fixed64."""
    return payload(field, np.ascontiguousarray(rows, _WIRE_ROWS).view(np.uint8))


def payload(field: int, array: Uint8Array) -> Parts:
    """Return a field of bytes, which are those of a C-contiguous array."""
    return (head(field, array.nbytes), array.reshape(-1).data) if array.nbytes else ()


def head(field: int, num_bytes: int) -> bytes:
    """Return what comes before a payload of so many bytes; an empty one has no field."""
    return _opening(field, num_bytes) if num_bytes else b""


def embedded(field: int, parts: Parts) -> Parts:
    """Return a field whose payload is the message of these parts, which may be empty."""
    return (_opening(field, sum(map(len, parts))), *parts)


def embedded_filled(field: int, last: FilledField) -> FilledField:
    """Return the same for a message that ends with a field that is still to be filled."""
    return last._replace(before=_opening(field, len(last.before) + last.num_bytes) + last.before)


def message_of(fields: Sequence[FilledField]) -> bytes | None:
    """Return the message in which they lie one behind the other, filled; None if one of them cannot be."""
    num_bytes = 0
    for _, (num_rows, row_bytes), _ in fields:
        num_bytes += num_rows * row_bytes
    if num_bytes >= _LEAST_BYTES_WRITTEN_IN_PLACE:
        return _message_written_in_place(fields, num_bytes)
    parts: list[bytes | memoryview] = []
    for before, shape, fill in fields:
        rows = np.empty(shape, np.uint8)
        if not fill(rows):
            return None
        parts += (before, rows.reshape(-1).data)
    return b"".join(parts)


def _message_written_in_place(fields: Sequence[FilledField], num_bytes: int) -> bytes | None:
    # gRPC takes nothing but `bytes`, which cannot be written to. A BytesIO hands out its own buffer as such, without a
    # copy, once nothing refers to it any more; that is why `fill` must keep nothing.
    message = io.BytesIO()
    message.seek(num_bytes + sum(len(field.before) for field in fields) - 1)
    message.write(b"\0")
    buffer = message.getbuffer()
    position = 0
    for field in fields:
        start = position + len(field.before)
        buffer[position:start] = field.before
        if not field.fill(np.frombuffer(buffer, np.uint8, field.num_bytes, start).reshape(field.shape)):
            return None
        position = start + field.num_bytes
    buffer.release()
    return message.getvalue()


def _leading_spans(message: bytes, position: int, end: int, wire_types: tuple[int, ...]) -> tuple[list[Span], int]:
    """Find the fields between `position` and `end`, and where they are over: at `end`, or at a field after them."""
    num_fields = len(wire_types)
    found: list[Span] = [(0, 0)] * num_fields
    next_field = 0
    while position < end:
        tag = message[position]
        field = (tag >> 3) - 1
        if not next_field <= field < num_fields or tag & 7 != wire_types[field]:
            break
        start = position + 1
        if tag & 7 == LEN:
            size, start = _read_varint(message, start)
            position = start + size
        else:
            position = start + 8
        if position > end:
            raise UnusualLayout
        found[field] = (start, position)
        next_field = field + 1
    return found, position


def _last_span(message: bytes, position: int, end: int, field: int) -> Span:
    if not field or message[position] != field << 3 | LEN:
        raise UnusualLayout
    size, start = _read_varint(message, position + 1)
    if start + size != end:
        raise UnusualLayout
    return start, end


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position` and where it ends."""
    if position < len(message) and message[position] < 0x80:  # most are short
        return message[position], position + 1
    value = 0
    for index, byte in enumerate(message[position : position + 5]):  # five bytes hold every size a message can have
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise UnusualLayout


def _text(field: int, text: str) -> bytes:
    encoded = text.encode("utf-8")
    return head(field, len(encoded)) + encoded


@lru_cache(maxsize=_OPENINGS_KEPT)
def _opening(field: int, num_bytes: int) -> bytes:
    return bytes((field << 3 | LEN,)) + _varint(num_bytes)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)

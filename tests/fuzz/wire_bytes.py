"""Protobuf messages made hostile: fields cut, swapped, repeated, nested, given wrong lengths, or just wrong bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

_LEN: Final = 2
_LENGTHS: Final = (0, 1, 127, 128, 255, 1 << 14, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 35, (1 << 64) - 1)
_DEEPEST: Final = 3  # of mutations inside mutations
_MOST_NESTING: Final = 120  # protobuf gives up at 100
_MOST_BYTES: Final = 1 << 16


def varint(number: int, *, longer_by: int = 0) -> bytes:
    """Encode a number, by so many bytes longer than it need be."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number | (0x80 if longer_by else 0))
    return bytes(encoded) + b"\x80" * (longer_by - 1) + (b"\0" if longer_by else b"")


def fields_of(message: bytes) -> list[bytes]:
    """Take a message apart into its fields, as far as they can be told apart; the rest is one piece."""
    fields, position = [], 0
    while position < len(message):
        end = _end_of_field(message, position)
        fields.append(message[position:end])
        position = end
    return fields


def hostile_message(rng: random.Random, messages: Sequence[bytes]) -> bytes:
    """Return one of `messages` after a few mutations; now and then as it is, now and then pure noise."""
    message = rng.choice(messages)
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(64))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 6))):
        message = _mutated(rng, message, messages, 0)[:_MOST_BYTES]
    return message


def hostile_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return `data` with a few bytes flipped, put in, taken out, repeated or cut off at the end."""
    if not data:
        return rng.randbytes(rng.randrange(1, 9))
    at = rng.randrange(len(data))
    to = min(len(data), at + rng.randrange(1, 9))
    match rng.randrange(6):
        case 0:
            return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
        case 1:
            return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
        case 2:
            return data[:at] + data[to:]
        case 3:
            return data[:to] + data[at:]
        case 4:
            return data[:at]
        case _:
            return data[:at] + rng.choice((b"\0", b"\xff", b"\x80", b"\x7f")) * (to - at) + data[to:]


def _mutated(rng: random.Random, message: bytes, others: Sequence[bytes], depth: int) -> bytes:
    fields = fields_of(message)
    if not fields or rng.random() < 0.2:
        return hostile_bytes(rng, message)
    at = rng.randrange(len(fields))
    if depth < _DEEPEST and rng.random() < 0.3:
        fields[at] = _with_payload(rng, fields[at], lambda inside: _mutated(rng, inside, others, depth + 1))
        return b"".join(fields)
    rng.choice(_OF_FIELDS)(rng, fields, at, others)
    return b"".join(fields)


def _drop(_: random.Random, fields: list[bytes], at: int, __: Sequence[bytes]) -> None:
    del fields[at]


def _repeat(rng: random.Random, fields: list[bytes], at: int, _: Sequence[bytes]) -> None:
    fields[at:at] = [fields[at]] * rng.choice((1, 1, 2, 70))


def _swap(rng: random.Random, fields: list[bytes], at: int, _: Sequence[bytes]) -> None:
    other = rng.randrange(len(fields))
    fields[at], fields[other] = fields[other], fields[at]


def _splice(rng: random.Random, fields: list[bytes], at: int, others: Sequence[bytes]) -> None:
    fields[at:at] = [rng.choice(fields_of(rng.choice(others)) or [b""])]


def _other_tag(rng: random.Random, fields: list[bytes], at: int, _: Sequence[bytes]) -> None:
    fields[at] = (
        varint(rng.randrange(1, 20) << 3 | rng.randrange(8), longer_by=rng.choice((0, 0, 0, 1))) + fields[at][1:]
    )


def _other_length(rng: random.Random, fields: list[bytes], at: int, _: Sequence[bytes]) -> None:
    payload = _payload_of(fields[at])
    length = rng.choice((*_LENGTHS, max(0, len(payload) - 1), len(payload) + 1, len(payload)))
    fields[at] = fields[at][:1] + varint(length, longer_by=rng.choice((0, 0, 1, 4, 9))) + payload


def _nest(rng: random.Random, fields: list[bytes], at: int, _: Sequence[bytes]) -> None:
    tag, nested = fields[at][:1], fields[at]
    for _level in range(rng.choice((1, 2, _MOST_NESTING))):
        nested = tag + varint(len(nested)) + nested
    fields[at] = nested


def _unknown(rng: random.Random, fields: list[bytes], at: int, _: Sequence[bytes]) -> None:
    payload = rng.randbytes(rng.randrange(20))
    fields[at:at] = [varint(rng.randrange(16, 1 << 29) << 3 | _LEN) + varint(len(payload)) + payload]


def _other_payload(rng: random.Random, fields: list[bytes], at: int, _: Sequence[bytes]) -> None:
    fields[at] = _with_payload(rng, fields[at], lambda _inside: rng.choice(_PAYLOADS))


_OF_FIELDS: Final = (_drop, _repeat, _swap, _splice, _other_tag, _other_length, _nest, _unknown, _other_payload)
_PAYLOADS: Final = (
    b"",
    b"\xff" * 8,
    b"\xff" * 24,
    b"\0" * 8,
    (1 << 63).to_bytes(8, "little"),
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\xc0\xaf",  # a slash, too long
    b"../../../../etc/passwd",
    b"..%2f..%2fetc%2fpasswd",
    b"/etc/passwd",
    b"a/../../b",
    b"a@b",
    b"a\0b",
    b"x" * 5000,
)
"""Of strings, packed numbers and messages alike."""


def _with_payload(rng: random.Random, field: bytes, changed: Callable[[bytes], bytes]) -> bytes:
    if not field or field[0] & 7 != _LEN:
        return hostile_bytes(rng, field)
    payload = changed(_payload_of(field))
    return field[:1] + varint(len(payload)) + payload


def _payload_of(field: bytes) -> bytes:
    if not field or field[0] & 7 != _LEN:
        return field[1:]
    return field[_end_of_varint(field, 1) :]


def _end_of_field(message: bytes, position: int) -> int:
    start = _end_of_varint(message, position)
    match message[position] & 7:
        case 0:
            end = _end_of_varint(message, start)
        case 1:
            end = start + 8
        case 5:
            end = start + 4
        case 2:
            payload = _end_of_varint(message, start)
            end = payload + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(message[start:payload]))
        case _:
            end = len(message)
    return min(max(end, position + 1), len(message))


def _end_of_varint(message: bytes, position: int) -> int:
    while position < len(message) and message[position] >= 0x80:
        position += 1
    return min(position + 1, len(message))

"""HTTP/2 frames written by hand, and broken in every way that a client library would not break them."""

from __future__ import annotations

import gzip
import random
from typing import Final, NamedTuple

from fuzz.wire_bytes import hostile_bytes

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
_INITIAL_WINDOW_SIZE: Final = 4
_TYPES: Final = (*range(10), 10, 0x42, 255)
_MOST_REPEATS: Final = 200
_BOMB: Final = gzip.compress(bytes(32 << 20))  # 32 KiB that are 32 MiB
_TIMEOUTS: Final = (b"1S", b"0n", b"-1S", b"99999999H", b"999999999999S", b"1X", b"", b"1", b"\xff")
_ENCODINGS: Final = (b"identity", b"gzip", b"deflate", b"snappy", b"", b"gzip,gzip")


class Frame(NamedTuple):
    """One frame; `length` is what it says of itself, None for the truth."""

    kind: int
    flags: int
    stream: int
    payload: bytes = b""
    length: int | None = None

    def encoded(self) -> bytes:
        """Return the bytes on the wire."""
        length = len(self.payload) if self.length is None else self.length
        head = (length & 0xFFFFFF).to_bytes(3, "big") + bytes((self.kind & 0xFF, self.flags & 0xFF))
        return head + (self.stream & 0xFFFFFFFF).to_bytes(4, "big") + self.payload


def opening(*, window: int | None = None) -> bytes:
    """Return how a connection begins; a `window` of 0 lets the node send no reply at all."""
    settings = b"" if window is None else _INITIAL_WINDOW_SIZE.to_bytes(2, "big") + window.to_bytes(4, "big")
    return PREFACE + Frame(SETTINGS, 0, 0, settings).encoded()


def call_frames(
    stream: int, path: bytes, message: bytes, *, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> list[Frame]:
    """Return a call as a client makes it."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"node"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *extra,
    )
    block = b"".join(_literal(name, value) for name, value in fields)
    return [
        Frame(HEADERS, END_HEADERS, stream, block),
        Frame(DATA, END_STREAM, stream, grpc_message(message)),
    ]


def grpc_message(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """Return a message with gRPC's five bytes before it."""
    return bytes((flag,)) + (len(message) if length is None else length).to_bytes(4, "big") + message


def strange_call(rng: random.Random, stream: int, path: bytes, message: bytes) -> list[Frame]:
    """Return a call whose frames are in order and whose content is not: it must be answered like any other.

    It has some content: one without a whole message is left by gRPC until its client has gone.
    """
    extra = []
    if rng.random() < 0.4:
        extra.append((b"grpc-encoding", rng.choice(_ENCODINGS)))
    if rng.random() < 0.3:
        extra.append((b"grpc-timeout", rng.choice(_TIMEOUTS)))
    if rng.random() < 0.2:
        extra.append(
            (rng.choice((b"x", b"x-bin", b"X-Upper", b":path", b"", b"a b", b"\0")), rng.randbytes(rng.randrange(99)))
        )
    if rng.random() < 0.1:
        extra.append((b"x-large", b"y" * rng.choice((7_000, 9_000, 15_000))))
    headers, data = call_frames(stream, path, message, extra=tuple(extra))
    payload = rng.choice(
        (
            data.payload,
            grpc_message(message, flag=1),
            grpc_message(message, flag=0xFF),
            grpc_message(gzip.compress(message), flag=1),
            grpc_message(_BOMB, flag=1),
            grpc_message(message, length=max(0, len(message) - 1)),
            grpc_message(message, length=0xFFFFFFFF),
            grpc_message(message) * 2,
        )
    )
    # No frame may be larger than the node allows by default.
    pieces = [payload[start : start + 16_000] for start in range(0, len(payload), 16_000)] or [b""]
    frames = [headers, *(Frame(DATA, 0, stream, piece) for piece in pieces)]
    return [*frames[:-1], frames[-1]._replace(flags=END_STREAM)]


def broken(rng: random.Random, frames: list[Frame]) -> list[Frame]:
    """Return frames that break the rules of HTTP/2 in a few places."""
    frames = list(frames)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.6:
            at = rng.randrange(len(frames))
            frames[at] = _broken_frame(rng, frames[at])
        else:
            frames = _in_other_order(rng, frames) or [_odd_frame(rng, 1)]
    return frames


def _broken_frame(rng: random.Random, frame: Frame) -> Frame:
    match rng.randrange(6):
        case 0:
            return frame._replace(kind=rng.choice(_TYPES))
        case 1:
            return frame._replace(flags=rng.randrange(256))
        case 2:
            return frame._replace(stream=rng.choice((0, 1, 2, frame.stream + 2, 0x7FFFFFFF, 0xFFFFFFFF)))
        case 3:
            return frame._replace(payload=hostile_bytes(rng, frame.payload))
        case 4:
            return frame._replace(length=rng.choice((0, 1, len(frame.payload) + 1, 0xFFFFFF)))
        case _:
            return frame._replace(flags=frame.flags | PADDED, payload=bytes((255,)) + frame.payload)


def _in_other_order(rng: random.Random, frames: list[Frame]) -> list[Frame]:
    at = rng.randrange(len(frames))
    before, frame, after = frames[:at], frames[at], frames[at + 1 :]
    match rng.randrange(4):
        case 0:
            return [*before, *[frame] * rng.choice((2, 3, _MOST_REPEATS)), *after]
        case 1:
            return [*before, *after]
        case 2:
            return [*before, *[_odd_frame(rng, frame.stream)] * rng.choice((1, 1, _MOST_REPEATS)), frame, *after]
        case _:
            return rng.sample(frames, len(frames))


def _odd_frame(rng: random.Random, stream: int) -> Frame:
    return rng.choice(
        (
            Frame(CONTINUATION, END_HEADERS, stream, _literal(b"x", b"y")),
            Frame(CONTINUATION, 0, stream, b"\0" * 1000),
            Frame(WINDOW_UPDATE, 0, 0, (0).to_bytes(4, "big")),
            Frame(WINDOW_UPDATE, 0, 0, (0x7FFFFFFF).to_bytes(4, "big")),
            Frame(WINDOW_UPDATE, 0, stream, (0x7FFFFFFF).to_bytes(4, "big")),
            Frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big")),
            Frame(RST_STREAM, 0, stream, b"\0"),
            Frame(PRIORITY, 0, stream, stream.to_bytes(4, "big") + b"\xff"),
            Frame(PUSH_PROMISE, END_HEADERS, stream, (2).to_bytes(4, "big")),
            Frame(PING, 0, 0, b"12345678"),
            Frame(PING, 0, 0, b"1"),
            Frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
            Frame(SETTINGS, 0, 0, b"\0\5\0\0\0\0"),
            Frame(SETTINGS, 0, 0, b"\0\1\xff\xff\xff\xff" * 20),
            Frame(SETTINGS, ACK, 0, b"\0\0\0\0\0\0"),
            Frame(GOAWAY, 0, 0, b"\0" * 8),
            Frame(HEADERS, END_HEADERS, stream, b"\xff\xff\xff\xff\xff\x0f"),  # an index that no table has
            Frame(HEADERS, END_HEADERS, stream, b"\x3f\xff\xff\xff\xff\x0f"),  # a table of any size
            Frame(HEADERS, END_HEADERS, stream, b"\0\x7f\xff\xff\xff\xff\x07"),  # a name without end
            Frame(HEADERS, END_HEADERS, stream, b"\0\x82\xff\xff\x01x"),  # letters that no code has
        )
    )


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header as HPACK writes one that it does not remember."""
    return b"\0" + _length(len(name)) + name + _length(len(value)) + value


def _length(number: int) -> bytes:
    if number < 0x7F:
        return bytes((number,))
    rest, encoded = number - 0x7F, bytearray((0x7F,))
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)

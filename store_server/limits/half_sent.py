"""What clients have sent of messages that are not whole yet.

gRPC collects a message before it hands it out, for as long as its client takes, and tells nobody how much it holds:
many calls that never come to their end would fill a node's memory, asked for by somebody who may not even call. So it
is found by subtraction, connection by connection: what TCP has received, less what was handed out to us.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_TCP_INFO: Final = struct.Struct("=120xQQ")  # linux/tcp.h: tcpi_bytes_acked and tcpi_bytes_received
# What comes beside messages, generously: what is allowed and does not come is no credit, see `_Connection.look`.
_OF_A_MESSAGE: Final = 512  # frames, TLS records, answers to pings
_FRAMES: Final = 16  # one byte of frames and records to so many of messages
_WINDOW_UPDATES: Final = 32  # one byte of them to so many of replies
_A_SECOND: Final = 64  # pings of a connection that is idle


@dataclass(slots=True)
class Arrived:
    """What was handed out to us of one connection. Counted by the event loop, and read in a thread."""

    num_bytes: int = 0
    messages: int = 0
    calls: int = 0

    def message(self, num_bytes: int) -> None:
        """Take note of one."""
        self.num_bytes += num_bytes
        self.messages += 1


class Traffic(NamedTuple):
    """Bytes of a connection, as TCP counts them."""

    received: int
    sent: int

    @classmethod
    def of(cls, connection: socket.socket) -> Traffic:
        """Raises OSError for one that is no TCP connection."""
        sent, received = _TCP_INFO.unpack(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
        return cls(received, sent)


class HalfSent:
    """Keeps it within `most_bytes` for all connections together. `call_bytes` is what the headers of a call may have.

    `of` belongs to the event loop, `too_much` to the thread that looks, and both may run at once.
    """

    def __init__(self, most_bytes: int, call_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._call_bytes = call_bytes
        self._connections: dict[str, _Connection] = {}

    @property
    def num_bytes(self) -> int:
        """How much was half sent at the last two looks."""
        return sum(each.half_sent for each in tuple(self._connections.values()))

    def of(self, peer: str) -> Arrived:
        """Return what counts for the connection of a peer."""
        return self._connections.setdefault(peer, _Connection()).arrived

    def too_much(self, traffic: Mapping[str, Traffic], now: float) -> dict[str, int]:
        """Return the connections that are to be cut off, and how much is half sent there: those that have most.

        `traffic` has all connections there are, `now` is of a clock that goes forward only.
        """
        for peer, counted in traffic.items():
            self._connections.setdefault(peer, _Connection()).look(counted, self._call_bytes, now)
        for peer in tuple(self._connections):
            if peer not in traffic and self._connections[peer].miss():
                del self._connections[peer]
        beyond, cut_off = self.num_bytes - self.most_bytes, {}
        for peer, connection in sorted(self._connections.items(), key=lambda item: -item[1].half_sent):
            if beyond <= 0:
                break
            cut_off[peer] = connection.half_sent
            beyond -= connection.half_sent
        return cut_off


@dataclass(slots=True)
class _Connection:
    arrived: Arrived = field(default_factory=Arrived)
    half_sent: int = 0
    """What was held at the last look and at the one before: what is just arriving is held at one of them only."""
    _held: int = 0
    _least: int = 1 << 16  # how a connection begins: TLS and its certificates
    _since: float | None = None
    _was_seen: bool = True

    def look(self, traffic: Traffic, call_bytes: int, now: float) -> None:
        """Find out how much of what was received was never handed out.

        The least that was ever found is what comes beside messages, and what is above it is held. So who sends less
        beside its messages than is allowed gains nothing for later.
        """
        self._since = now if self._since is None else self._since
        arrived = self.arrived
        beside = arrived.num_bytes // _FRAMES + arrived.messages * _OF_A_MESSAGE + arrived.calls * call_bytes
        beside += traffic.sent // _WINDOW_UPDATES + int(now - self._since) * _A_SECOND
        found = traffic.received - arrived.num_bytes - beside
        self._least = min(self._least, found)
        self.half_sent, self._held = min(self._held, found - self._least), found - self._least
        self._was_seen = True

    def miss(self) -> bool:
        """Take note that it was not among those that were looked at; tells whether it is so for the second time.

        At the first it may be newer than what was looked at, and its calls count already.
        """
        self.half_sent = 0
        was_seen, self._was_seen = self._was_seen, False
        return not was_seen

"""What a parent and a worker tell each other: messages as JSON, each in one piece, with descriptors beside it."""

from __future__ import annotations

import json
import socket
from typing import Any, Final, NamedTuple, Self, TypeAlias

_LARGEST_MESSAGE: Final = 64 << 10
_MOST_DESCRIPTORS: Final = 1

Message: TypeAlias = dict[str, Any]


class Received(NamedTuple):
    """A message and the descriptors that came with it, which belong to the receiver."""

    message: Message
    descriptors: list[int]


class Channel:
    """One end of a pair of sockets. Raises OSError, TimeoutError among them."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Return both ends of a new channel."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """Return the end that this process was started with."""
        end = socket.socket(fileno=descriptor)
        end.set_inheritable(False)
        return cls(end)

    def fileno(self) -> int:
        """Return the descriptor of this end."""
        return self._end.fileno()

    def set_timeout(self, seconds: float) -> None:
        """Wait at most so long; 0 does not wait at all. By default there is no limit."""
        self._end.settimeout(seconds)

    def send(self, message: Message, *descriptors: int) -> None:
        """Send a message; the other side gets copies of the descriptors."""
        socket.send_fds(self._end, [json.dumps(message).encode()], descriptors)

    def receive(self) -> Received | None:
        """Return the next message, None once the other end is closed."""
        data, descriptors, _, _ = socket.recv_fds(self._end, _LARGEST_MESSAGE, _MOST_DESCRIPTORS)
        return Received(json.loads(data), descriptors) if data else None

    def close(self) -> None:
        """Close this end. May be called again."""
        self._end.close()

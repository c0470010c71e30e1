"""Where the nodes of a cluster listen, and what a test can do to the way there."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Protocol


class Network(Protocol):
    """Nodes by number."""

    def listen(self, number: int) -> str:
        """Return HOST:PORT at which a node is to listen."""
        ...

    def address(self, number: int) -> str:
        """Return HOST:PORT at which clients reach it."""
        ...

    def prefix(self, number: int) -> Sequence[str]:
        """Return the command that runs another one where the node is to be."""
        ...


class BadNetwork(Network, Protocol):
    """One in which the way to a node can be bad."""

    client_prefix: Sequence[str]
    """The command that runs another one where clients are to be."""

    def cut(self, number: int) -> None:
        """Let nothing through any more, and tell nobody."""
        ...

    def mend(self, number: int) -> None:
        """Undo a cut."""
        ...

    def impair(self, number: int, *, round_trip_seconds: float = 0.0, loss: float = 0.0) -> None:
        """Add to the round trip, and lose a share of the packets in each direction; without arguments as it was."""
        ...


class Loopback:
    """All at 127.0.0.1, on ports that were free; those after a node's first one are for its workers."""

    def __init__(self, num_nodes: int, *, ports_a_node: int = 1) -> None:
        self._listen = [f"127.0.0.1:{port}" for port in free_ports(num_nodes, ports_a_node)]

    def listen(self, number: int) -> str:
        return self._listen[number]

    def address(self, number: int) -> str:
        return self._listen[number]

    def prefix(self, number: int) -> Sequence[str]:  # noqa: ARG002
        return ()


def free_ports(number: int, in_a_row: int = 1) -> list[int]:
    """Return ports of which so many are free, each with those that follow it."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < number:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):  # one that follows is taken, or there is none
                for following in range(port + 1, port + in_a_row):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", following))
                ports.append(port)
        return ports

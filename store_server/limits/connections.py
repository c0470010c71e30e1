"""The TCP connections of a node's clients: how many there may be, and how one is cut off."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from store_server.limits.half_sent import Arrived, HalfSent, Traffic

log = structlog.get_logger()
_FILES: Final = Path("/proc/self/fd")
_MAPPED: Final = "::ffff:"  # what begins an IPv4 address on a socket of both kinds


class Connections:
    """Knows the connections that were accepted at a port of this process, by the names that gRPC gives peers.

    gRPC has no limit for them and does not hand them out, so they are looked for among the open files, now and then in
    a thread. What is beyond `most` is cut off, the newest first; a call on one that is newer than the last look asks
    `admits`. Connections that fill the node with halves of messages are cut off, too, where `half_sent` looks at that.
    A Unix socket has one peer, `unix:`, whose connections are neither counted nor cut off: its file's mode says who may
    connect.
    """

    def __init__(self, most: int, half_sent: HalfSent | None = None) -> None:
        self.most = most
        self.half_sent = half_sent
        self.cut_off = 0
        """How many were cut off."""
        self._port = 0
        self._peers: dict[str, None] = {}  # in the order in which they were first seen

    def listen_on(self, port: int) -> None:
        """Look at this port from now on; 0 looks at none."""
        self._port = port

    @property
    def number(self) -> int:
        """How many there were when somebody last looked, and calls on newer ones since."""
        return len(self._peers)

    def admits(self, peer: str) -> bool:
        """Tell whether a call may come from there: one more connection is within the limit, or is known already."""
        if not self._port or peer in self._peers:
            return True
        if len(self._peers) >= self.most:
            return False
        self._peers[peer] = None
        return True

    def arrived(self, peer: str) -> Arrived:
        """Return what counts what is handed out of a peer's connection."""
        return Arrived() if self.half_sent is None else self.half_sent.of(peer)

    def look(self) -> None:
        """Take note of what is open, and cut off what is too much. For one thread at a time."""
        if not self._port:
            return
        found = dict(self._accepted())
        known = [peer for peer in self._peers if peer in found]
        new = [peer for peer in found if peer not in self._peers]
        kept, beyond = (known + new)[: self.most], (known + new)[self.most :]
        self._peers = dict.fromkeys(kept)
        if beyond:
            log.warning("too many connections, the newest are cut off", limit=self.most, cut_off=len(beyond))
        for peer in beyond:
            self._shut(found[peer], peer)
        if self.half_sent is not None:
            self._cut_off_half_sent(self.half_sent, {peer: found[peer] for peer in kept})

    def _cut_off_half_sent(self, half_sent: HalfSent, found: dict[str, int]) -> None:
        traffic = {}
        for peer, file in found.items():
            with suppress(OSError), socket.socket(fileno=os.dup(file)) as connection:  # closed meanwhile
                traffic[peer] = Traffic.of(connection)
        for peer, num_bytes in half_sent.too_much(traffic, time.monotonic()).items():
            limit = half_sent.most_bytes
            log.warning("requests that do not come to their end are cut off", peer=peer, bytes=num_bytes, limit=limit)
            self._shut(found[peer], peer)

    def end(self, peer: str) -> bool:
        """Cut off the connection of a peer; False if there is none, or none that can be."""
        file = dict(self._accepted()).get(peer)
        return file is not None and self._shut(file, peer)

    def _accepted(self) -> list[tuple[str, int]]:
        """Return the peers of accepted connections and their descriptors."""
        found = []
        for file in _FILES.iterdir():
            with suppress(OSError):  # closed meanwhile, or one that listens
                if str(file.readlink()).startswith("socket:") and (peer := self._peer_of(int(file.name))):
                    found.append((peer, int(file.name)))
        return found

    def _shut(self, file: int, peer: str) -> bool:
        with suppress(OSError), socket.socket(fileno=os.dup(file)) as connection:
            if _peer(connection, self._port) == peer:  # the number may belong to another file by now
                connection.shutdown(socket.SHUT_RDWR)
                self.cut_off += 1
                return True
        return False

    def _peer_of(self, file: int) -> str | None:
        with socket.socket(fileno=os.dup(file)) as connection:
            return _peer(connection, self._port)


def _peer(connection: socket.socket, port: int) -> str | None:
    """Return who is at the other end of a connection that was accepted at a port, as gRPC names it."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.type != socket.SOCK_STREAM:
        return None
    if connection.getsockname()[1] != port:
        return None
    host, peer_port = connection.getpeername()[:2]  # raises OSError for one that listens
    if ":" not in host or host.startswith(_MAPPED):
        return f"ipv4:{host.removeprefix(_MAPPED)}:{peer_port}"
    return f"ipv6:{quote(f'[{host}]', safe=':')}:{peer_port}"

"""A TCP proxy that hands on everything later and nothing slower: distance, added to a connection on one machine.

    python delaying_proxy.py HOST:PORT

prints the address that it listens on. Each line that it reads is the seconds to add to the round trip from then on; it
prints the line when that is so, and ends when there are no more.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

_STOP_SECONDS = 10.0
# A block below what glibc maps and unmaps anew each time.
_READ_BYTES = 1 << 16
# What one direction may hold on its way: 1 GB/s for half a second. A limit that is reached would limit the bandwidth.
_MOST_HELD_BYTES = 1 << 29


class DelayingProxy:
    """A proxy in a process of its own; `address` is HOST:PORT."""

    def __init__(self, target: str) -> None:
        # In a process group of its own it does not hear the terminal's Ctrl-C: it ends when its input does.
        self._process = subprocess.Popen(
            [sys.executable, __file__, target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            process_group=0,
        )
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            raise AssertionError(f"the proxy did not start, exit {self._process.wait(_STOP_SECONDS)}")

    def add_round_trip(self, seconds: float) -> None:
        """Delay what comes from now on by half of `seconds` in each direction; what is on its way stays ahead."""
        if seconds < 0:
            raise ValueError(f"a round trip cannot become shorter, got {seconds} s to add")
        self._process.stdin.write(f"{seconds!r}\n")
        if self._process.stdout.readline() != f"{seconds!r}\n":
            raise AssertionError("the proxy has ended")

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(_STOP_SECONDS)
        self._process.stdout.close()


@contextlib.contextmanager
def delaying_proxy(target: str) -> Iterator[DelayingProxy]:
    """Run a proxy to HOST:PORT that adds nothing yet, on the cores of the calling thread."""
    proxy = DelayingProxy(target)
    try:
        yield proxy
    finally:
        proxy.stop()


class _Distance:
    """What all connections share."""

    one_way_seconds = 0.0


def _main(target: str) -> None:
    distance = _Distance()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, target, distance), daemon=True).start()
        print("{}:{}".format(*listener.getsockname()), flush=True)
        for line in sys.stdin:
            distance.one_way_seconds = float(line) / 2
            print(line, end="", flush=True)


def _serve(listener: socket.socket, target: str, distance: _Distance) -> None:
    host, port = target.rsplit(":", 1)
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((host, int(port)))
        for source, sink in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = _DelayLine(distance)
            threading.Thread(target=_receive, args=(source, line), daemon=True).start()
            threading.Thread(target=_send, args=(line, sink), daemon=True).start()


def _receive(source: socket.socket, line: _DelayLine) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := source.recv(_READ_BYTES):
            line.put(piece)
    line.put(b"")


def _send(line: _DelayLine, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := line.take():
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


class _DelayLine:
    """Pieces on their way in one direction, with the moment at which each may leave."""

    def __init__(self, distance: _Distance) -> None:
        self._distance = distance
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._changed = threading.Condition()

    def put(self, piece: bytes) -> None:
        due = time.monotonic() + self._distance.one_way_seconds
        with self._changed:
            self._changed.wait_for(lambda: self._held_bytes < _MOST_HELD_BYTES)
            self._held_bytes += len(piece)
            self._pieces.append((due, piece))
            self._changed.notify_all()

    def take(self) -> bytes:
        """Return the next piece when its time has come."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces)
            due, piece = self._pieces.popleft()
            self._held_bytes -= len(piece)
            self._changed.notify_all()
        time.sleep(max(0.0, due - time.monotonic()))
        return piece


if __name__ == "__main__":
    _main(sys.argv[1])

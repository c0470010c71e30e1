"""A wire between two network interfaces, in user space: frames that come in at one go out at the other, or are lost.

    python lossy_wire.py NEAR FAR INTERFACE...

puts NEAR and FAR together once the offloads of the other interfaces, their peers, are switched off too. Each line that
it reads is JSON: the share of frames to lose and the seconds to delay the others, each way; it answers with the line.
It ends when there are no more. Losses are drawn from a fixed seed.
"""

from __future__ import annotations

import contextlib
import json
import random
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.network_offloads import switch_offloads_off

_STOP_SECONDS = 10.0
_LARGEST_FRAME_BYTES = 1 << 16
_AT_A_TIME = 64  # frames of one direction before the other one is looked at
_HELD_BYTES = 8 << 20  # of frames that come faster than they are taken; more are lost, as at any switch
_ALL_PROTOCOLS = 0x0003
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # beyond the limit for all


class LossyWire:
    """A wire in a process of its own, run by the command `prefix`."""

    def __init__(self, near: str, far: str, peers: Sequence[str], prefix: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, __file__, near, far, *peers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.become()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def become(self, *, loss: float = 0.0, one_way_seconds: float = 0.0) -> None:
        """Lose a share of frames and delay the others from now on; what is on its way stays ahead."""
        line = json.dumps([loss, one_way_seconds]) + "\n"
        self._process.stdin.write(line)
        if self._process.stdout.readline() != line:
            raise AssertionError("the wire has ended")

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(_STOP_SECONDS)
        self._process.stdout.close()


class _Wire:
    def __init__(self, near: str, far: str) -> None:
        ends = [_end(near), _end(far)]
        self._ways = [_Way(*ends), _Way(*reversed(ends))]
        self._selector = selectors.DefaultSelector()
        for way in self._ways:
            self._selector.register(way.source, selectors.EVENT_READ, way)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select(self._seconds_until_due()):
                if key.data is not None:
                    key.data.receive()
                elif not self._obey(sys.stdin.readline()):
                    return
            for way in self._ways:
                way.send_due()

    def _obey(self, line: str) -> bool:
        if line:
            loss, one_way_seconds = json.loads(line)
            for way in self._ways:
                way.loss, way.seconds = loss, one_way_seconds
            print(line, end="", flush=True)
        return bool(line)

    def _seconds_until_due(self) -> float | None:
        dues = [way.held[0][0] for way in self._ways if way.held]
        return max(0.0, min(dues) - time.monotonic()) if dues else None


class _Way:
    """One direction: frames on their way, with the moment at which each is due at the other end."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self._sink = source, sink
        self.loss = self.seconds = 0.0
        self.held: deque[tuple[float, bytes]] = deque()
        self._dice = random.Random(0)

    def receive(self) -> None:
        now = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_A_TIME):
                frame = self.source.recv(_LARGEST_FRAME_BYTES)
                if self.loss and self._dice.random() < self.loss:
                    continue
                if self.seconds or self.held:
                    self.held.append((now + self.seconds, frame))
                else:
                    self._send(frame)

    def send_due(self) -> None:
        while self.held and self.held[0][0] <= time.monotonic():
            self._send(self.held.popleft()[1])

    def _send(self, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # the other end is down, or full: the frame is lost
            self._sink.send(frame)


def _end(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    end.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
        end.setsockopt(socket.SOL_SOCKET, option, _HELD_BYTES)
    end.bind((interface, 0))
    end.setblocking(False)
    return end


def _main(near: str, far: str, *peers: str) -> None:
    for interface in (near, far, *peers):
        switch_offloads_off(interface)
    _Wire(near, far).run()


if __name__ == "__main__":
    _main(*sys.argv[1:])

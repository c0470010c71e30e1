"""The ports beside that of the clients: HTTP for metrics, plain health for probes, with neither in what comes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Final

from fuzz.target import Wrong
from fuzz.wire.connections import Connections
from fuzz.wire.node import FuzzedNode
from fuzz.wire_bytes import hostile_bytes

_TIME_LIMIT_SECONDS: Final = 10.0
_REQUESTS: Final = (
    b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.0\r\n\r\n",
    b"GET //x/metrics?a=b#c HTTP/1.1\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nx",
    b"GET /metrics HTTP/9.9\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
    b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n",
    b"GET http://[::1/metrics HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
)


class SidePorts:
    """Asks one port or the other, each time on a connection of its own."""

    def __init__(self, node: FuzzedNode) -> None:
        self._metrics = node.ports.metrics
        self._health = Connections(node, node.ports.health)

    async def speak(self, rng: random.Random) -> Counter[str]:
        """Say something; who has said all that they had to say is answered, or hung up on, in time."""
        if rng.random() < 0.3:
            return Counter(health=(await self._health.speak(rng)).total())
        message = rng.choice(_REQUESTS)
        for _ in range(rng.choice((0, 1, 1, 2))):
            message = hostile_bytes(rng, message)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._metrics)
        try:
            writer.write(message)
            writer.write_eof()
            async with asyncio.timeout(_TIME_LIMIT_SECONDS):
                answer = await reader.read()
        except TimeoutError:
            raise Wrong(f"{message!r:.999} keeps the port for metrics") from None
        except ConnectionError:  # hung up on, before it was read to its end
            return Counter(closed=1)
        finally:
            writer.transport.abort()
        return Counter((_status(answer),))


def _status(answer: bytes) -> str:
    words = answer.split(None, 2)
    if not answer:
        return "closed"
    if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() and words[1] != b"500":
        return words[1].decode()
    if answer.startswith((b"<!DOCTYPE HTML", b"engram-store", b"there is only", b"# HELP")):  # as HTTP 0.9 answers
        return "old"
    raise Wrong(f"answered with {answer!r:.500}")

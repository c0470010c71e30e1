"""Each node behind a TCP proxy that can hold back everything: for where network namespaces are not permitted.

    python network_proxies.py HOST:PORT

runs one; it prints the address that it listens on. Each line that it reads is JSON: the seconds to delay each way, null
to let nothing through; it answers with the line, and ends when there are no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.network import Loopback

_STOP_SECONDS = 10.0
_READ_BYTES = 1 << 16
_MOST_PIECES_HELD = 1 << 10  # then the sender is no longer read from, as when a cable is cut


class Proxies(Loopback):
    """Packets cannot be lost here: below a proxy TCP would bring them again."""

    client_prefix: Sequence[str] = ()

    def __init__(self, num_nodes: int) -> None:
        super().__init__(num_nodes)
        self._proxies = [_Proxy(self.listen(number)) for number in range(num_nodes)]

    def address(self, number: int) -> str:
        return self._proxies[number].address

    def cut(self, number: int) -> None:
        self._proxies[number].become(None)

    def mend(self, number: int) -> None:
        self._proxies[number].become(0.0)

    def impair(self, number: int, *, round_trip_seconds: float = 0.0, loss: float = 0.0) -> None:
        if loss:
            raise ValueError("a proxy cannot lose packets; that takes network namespaces")
        self._proxies[number].become(round_trip_seconds / 2)

    def close(self) -> None:
        for proxy in self._proxies:
            proxy.stop()


@contextlib.contextmanager
def proxies(num_nodes: int) -> Iterator[Proxies]:
    network = Proxies(num_nodes)
    try:
        yield network
    finally:
        network.close()


class _Proxy:
    def __init__(self, target: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.address = self._process.stdout.readline().strip()

    def become(self, one_way_seconds: float | None) -> None:
        line = json.dumps(one_way_seconds) + "\n"
        self._process.stdin.write(line)
        if self._process.stdout.readline() != line:
            raise AssertionError("the proxy has ended")

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(_STOP_SECONDS)
        self._process.stdout.close()


class _Way:
    """What all connections share: how long pieces take, and whether any may leave."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.is_open = asyncio.Event()
        self.is_open.set()

    def become(self, one_way_seconds: float | None) -> None:
        if one_way_seconds is None:
            self.is_open.clear()
        else:
            self.seconds = one_way_seconds
            self.is_open.set()


async def _main(target: str) -> None:
    way = _Way()
    host, port = target.rsplit(":", 1)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await way.is_open.wait()  # a connection that is made during a cut is made when it is over
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(writer), contextlib.closing(far_writer):
                await asyncio.gather(_pump(way, reader, far_writer), _pump(way, far_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    threading.Thread(target=_obey, args=(loop, way, ended), daemon=True).start()
    await ended.wait()


def _obey(loop: asyncio.AbstractEventLoop, way: _Way, ended: asyncio.Event) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(way.become, json.loads(line))
        print(line, end="", flush=True)
    loop.call_soon_threadsafe(ended.set)


async def _pump(way: _Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on pieces, each when it is due; an end or an error of one side ends both."""
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_PIECES_HELD)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_take(way, reader, held))
        tasks.create_task(_give(way, held, writer))


async def _take(way: _Way, reader: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]]) -> None:
    now = asyncio.get_running_loop().time
    while piece := await reader.read(_READ_BYTES):
        await held.put((now() + way.seconds, piece))
    await held.put((now() + way.seconds, b""))


async def _give(way: _Way, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due, piece = await held.get()
        await asyncio.sleep(max(0.0, due - now()))
        await way.is_open.wait()
        if not piece:
            writer.close()
            return
        writer.write(piece)
        await writer.drain()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))

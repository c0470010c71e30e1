"""`python -m overload.slow_node ROOT OPTIONS`: a node whose rows come from a disk of known delay, so that anybody can
ask more of it than it can give.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from pathlib import Path

from support.hooked_root import ColdBackend, HookedRoot

from store_server.access.access_config import AccessConfig
from store_server.config import ServerConfig
from store_server.limits.limits import Limits
from store_server.logs import log_to_stderr
from store_server.node import Node


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of a lookup; 0 serves from RAM")
    parser.add_argument("--max-queued", type=int, default=4096)
    parser.add_argument("--tokens", type=Path)
    asyncio.run(_serve(parser.parse_args()))


async def _serve(given: argparse.Namespace) -> None:
    config = ServerConfig(
        root=given.root,
        listen="127.0.0.1:0",
        limits=Limits(max_queued=given.max_queued),
        access=AccessConfig(tokens=given.tokens),
    )
    log_to_stderr()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    node = Node(config, HookedRoot(given.root, _opened_slowly(given.delay_ms / 1000)))
    try:
        await node.start()
        print(f"listening on {node.address}", flush=True)
        await stop.wait()
    finally:
        await node.close()


def _opened_slowly(delay_seconds: float):
    def opened(open_backend, name, version, **options):
        backend = open_backend(name, version, **options)
        return ColdBackend(backend, lambda _rows: time.sleep(delay_seconds)) if delay_seconds else backend

    return opened


if __name__ == "__main__":
    main()

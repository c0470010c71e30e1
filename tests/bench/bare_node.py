"""`python -m bench.bare_node ROOT`: a node that counts nothing, to see what counting costs."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from store_server.allocator import keep_freed_memory
from store_server.config import ServerConfig
from store_server.logs import log_to_stderr
from store_server.node import Node
from store_server.observing.call_observer import NobodyObserves
from store_server.observing.lookup_counts import LookupCounts
from store_server.observing.node_metrics import NodeMetrics
from store_server.storage import DataRoot


class Uncounted(LookupCounts):
    def found(self, table, source, rows, row_bytes):
        pass

    def failed(self, reason):
        pass

    def answered(self, source, seconds, lookups=1):
        pass


class NoMetrics(NodeMetrics):
    def __init__(self, catalog, root):
        super().__init__(catalog, root)
        self.calls, self.lookups = NobodyObserves(), Uncounted()


async def main(root: Path) -> None:
    log_to_stderr()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = ServerConfig(root=root, listen="127.0.0.1:0", in_memory=frozenset({"t"}))
    node = Node(config, DataRoot.open(root), metrics=NoMetrics)
    try:
        await node.start()
        print(f"listening on {node.address}", flush=True)
        await stop.wait()
    finally:
        await node.close()


if __name__ == "__main__":
    keep_freed_memory()
    uvloop.run(main(Path(sys.argv[1])))

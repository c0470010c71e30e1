"""A node and a worker whose disk never gives them the first version that they open."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from store_server.config import ServerConfig
from store_server.logs import log_to_stderr
from store_server.node import running
from store_server.serving import serve
from store_server.storage import DataRoot
from store_server.workers.worker import main

_BEGIN = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); import support.never_opens as never; "
WORKER = (sys.executable, "-c", f"{_BEGIN} never.run_worker()")


class Waiting(DataRoot):
    def open_backend(self, *_: object, **__: object) -> None:
        threading.Event().wait()


@contextlib.contextmanager
def node_that_never_opens(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a node as long as the block lasts, with a port for probes and one for metrics, which its log names."""
    command = (sys.executable, "-c", f"{_BEGIN} never.run_node()", str(root))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        try:
            yield node
        finally:
            node.kill()


def run_node() -> None:
    log_to_stderr()
    at = {"listen": "127.0.0.1:0", "health_listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"}
    serve(
        ServerConfig(root=Path(sys.argv[1]), **at),
        listening=print,
        node=lambda config, **others: running(config, open_root=Waiting, **others),
    )


def run_worker() -> None:
    sys.exit(main(sys.argv[1], Waiting))

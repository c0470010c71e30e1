"""`python -m bench.bare_node ROOT [--without metrics|tracing]`: a node that lacks something, to see what that costs.

Without metrics it counts nothing. Without tracing the code that serves lookups does not even ask whether they are
traced: those branches are cut out of its source before it is imported. With neither it is a node as it is.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

import uvloop

_LOOKUPS = "store_server.services.answers"
_LEAST_CUT = 6  # what there was to cut out when this was written


class WithoutTracing(ast.NodeTransformer):
    """Leaves of `if self._spans is None` what is done then, and of `if self._spans is not None` nothing."""

    def __init__(self) -> None:
        self.num_cut = 0

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        is_none = _asks_for_none(node.test)
        if is_none is None:
            return node
        self.num_cut += 1
        return node.body if is_none else node.orelse

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        is_none = _asks_for_none(node.test)
        if is_none is None:
            return node
        self.num_cut += 1
        return node.body if is_none else node.orelse


def _asks_for_none(test: ast.expr) -> bool | None:
    """Tell whether this asks for spans to be None, or not to be; None if it asks for something else."""
    match test:
        case ast.Compare(left=ast.Attribute(attr="_spans"), ops=[ast.Is()]):
            return True
        case ast.Compare(left=ast.Attribute(attr="_spans"), ops=[ast.IsNot()]):
            return False
    return None


def import_without_tracing() -> None:
    """Import the module that serves lookups, cut."""
    found = importlib.util.find_spec(_LOOKUPS)
    source, cut = Path(found.origin).read_text(), WithoutTracing()
    tree = ast.fix_missing_locations(cut.visit(ast.parse(source)))
    if cut.num_cut < _LEAST_CUT:
        raise SystemExit(f"{cut.num_cut} branches for spans in {_LOOKUPS}, expected {_LEAST_CUT}: is it still there?")
    module = ModuleType(_LOOKUPS)
    module.__file__, module.__package__ = found.origin, _LOOKUPS.rpartition(".")[0]
    sys.modules[_LOOKUPS] = module
    exec(compile(tree, found.origin, "exec"), module.__dict__)  # noqa: S102  # our own source


def metrics_that_count_nothing() -> type:
    from store_server.observing.call_observer import NobodyObserves
    from store_server.observing.lookup_counts import LookupCounts
    from store_server.observing.node_metrics import NodeMetrics

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

    return NoMetrics


async def main(root: Path, without: str | None) -> None:
    from store_server.config import ServerConfig
    from store_server.logs import log_to_stderr
    from store_server.node import Node
    from store_server.storage import DataRoot

    log_to_stderr()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = ServerConfig(root=root, listen="127.0.0.1:0", in_memory=frozenset({"t"}))
    options = {"metrics": metrics_that_count_nothing()} if without == "metrics" else {}
    node = Node(config, DataRoot.open(root), **options)
    try:
        await node.start()
        print(f"listening on {node.address}", flush=True)
        await stop.wait()
    finally:
        await node.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--without", choices=["metrics", "tracing"])
    given = parser.parse_args()
    if given.without == "tracing":
        import_without_tracing()
    from store_server.allocator import keep_freed_memory

    keep_freed_memory()
    uvloop.run(main(given.root, given.without))

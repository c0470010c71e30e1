"""A memory node in a process of its own, for as long as the demo needs it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, cast

from store_server.commands.demo.steps import step
from store_server.commands.failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0  # more than the node takes to drain
_PROGRAM: Final = "store_server.commands.demo.with_parent"


@contextmanager
def running_node(root: Path, *, log: Path) -> Iterator[str]:
    """Serve the tables of `root` on a free port of this machine and yield HOST:PORT; the node's log goes to a file.

    The node is ended with the block, whatever the reason, and with this process. Raises CommandFailed when it does not
    start.
    """
    serve = ["serve", str(root), "--listen", "127.0.0.1:0"]
    with log.open("wb") as stderr:
        node = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", _PROGRAM, str(os.getpid()), *serve],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with node:
        try:
            with step("start a memory node"):
                address = _address(node, log)
            yield address
        finally:
            _end(node)


def _address(node: subprocess.Popen[str], log: Path) -> str:
    stdout = cast("IO[str]", node.stdout)  # a pipe, as we asked for
    ready, _, _ = select.select([stdout], [], [], START_SECONDS)
    line = stdout.readline() if ready else ""  # "" as well when the node has ended
    if not line.startswith("listening on "):
        said = log.read_text(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"not listening within {START_SECONDS:g} s"
        raise CommandFailed(f"the node did not start: {reason}")
    return line.removeprefix("listening on ").strip()


def _end(node: subprocess.Popen[str]) -> None:
    node.terminate()
    try:
        node.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()

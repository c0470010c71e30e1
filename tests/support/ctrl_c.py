"""What Ctrl-C leaves of a benchmark."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from support.processes import NodeProcess, node_process

INTERRUPTED = 128 + signal.SIGINT


@contextlib.contextmanager
def ctrl_c_is_one_line() -> Iterator[None]:
    """Print `interrupted` and exit with 130, where Python would print what it was doing at that moment."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


@contextlib.contextmanager
def ctrl_c_put_off() -> Iterator[None]:
    """Have this thread, and the processes that it starts meanwhile, hear of Ctrl-C only when they `hear_ctrl_c`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def node_without_ctrl_c(root: Path, *options: str) -> Iterator[NodeProcess]:
    """Run a node that never hears of Ctrl-C: one that ended by itself would be taken for a failure."""
    with contextlib.ExitStack() as stack:
        with ctrl_c_put_off():
            node = stack.enter_context(node_process(root, *options, is_fresh=True))
        yield node


def hear_ctrl_c() -> None:
    """Raise KeyboardInterrupt from now on in a process that was started with it put off, also for one in between."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

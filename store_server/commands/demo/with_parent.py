"""A program that runs a command and is told to end when its parent does: python -m ... PARENT-ID COMMAND ARGUMENTS.

It says so to the system itself, where the parent could have it done between fork and exec (preexec_fn): a parent that
is sent a signal just then may lose it, and a lock with it, as Python drops what is raised in the hooks of a fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

from store_server.commands import main

_PR_SET_PDEATHSIG: Final = 1


def run(parent: int, arguments: list[str]) -> int:
    """Run the command line `arguments` and return its exit status; 1 when the process `parent` is no longer there."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it would have been heard of
        return 1
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))

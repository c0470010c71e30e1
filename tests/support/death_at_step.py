"""Something done by a process that is killed at one of its steps, so that what is left can be looked at."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

_STEPS = ("os.", "shutil.", "fcntl.", "mmap.")


def exit_code_of_death_at(step: int, act: Callable[[], object]) -> int:
    """Fork a process that acts and kills itself with SIGKILL at that step; 0 where it has not so many.

    A step is all that Python can see: an audit event of files (open, rename, mkdir, remove, truncate, lock, ...). The
    process that asks must have no threads, as it forks.
    """
    child = os.fork()
    if child == 0:
        sys.addaudithook(_killing_at(step))
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _killing_at(step: int) -> Callable[[str, tuple[object, ...]], None]:
    steps = 0

    def count(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal steps
        if event == "open" or event.startswith(_STEPS):
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    return count

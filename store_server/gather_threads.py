"""The threads that read rows which may have to come from disk."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

NICENESS_OF_GATHERING: Final = 10


def gather_threads(number: int) -> ThreadPoolExecutor:
    """Return an executor with at most so many threads; whoever asks for it shuts it down."""
    return ThreadPoolExecutor(number, thread_name_prefix="gather", initializer=_run_after_others)


def _run_after_others() -> None:
    """Let the event loop have the processor first: this thread is about to keep the kernel busy with a disk."""
    thread = threading.get_native_id()
    niceness = max(NICENESS_OF_GATHERING, os.getpriority(os.PRIO_PROCESS, thread))  # less takes a privilege
    with suppress(OSError):  # it is a courtesy, and an executor whose threads cannot start is broken for good
        os.setpriority(os.PRIO_PROCESS, thread, niceness)

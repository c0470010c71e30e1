"""Stores and fork(): connections do not survive it, so a child gets an error where it would hang."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import ClassVar, Final

from engram_client.errors import ForkedProcess

_SETTING: Final = "GRPC_ENABLE_FORK_SUPPORT"
_OFF: Final = ("0", "f", "false", "n", "no")  # what gRPC takes for false
_log = logging.getLogger(__name__)
_ADVICE: Final = "open stores only after the fork, or start processes with the 'spawn' method"


def leave_fork_to_us() -> None:
    """Switch off gRPC's own fork handlers, unless the user has set them; works only before gRPC is first imported.

    They cannot stop the threads of an open asyncio channel, go on without, and crash the child at the fork itself
    (grpcio 1.85: in one of four forks), long before it could use the store. Where they stay on, a fork is warned of.
    """
    if "grpc" not in sys.modules:
        os.environ.setdefault(_SETTING, "0")
    ForkGuard.grpc_handles_forks = os.environ.get(_SETTING, "on by default").lower() not in _OFF


class ForkGuard:
    """Held by whatever lives in this process only; knows when it finds itself on the far side of a fork.

    gRPC's threads do not exist in a forked child, while its locks may still be held there: the inherited connection
    hangs or crashes, and so does a new one if the parent ever had gRPC running, even if it had closed everything.
    """

    grpc_handles_forks: ClassVar[bool] = False
    _grpc_started: ClassVar[bool] = False
    _grpc_lost: ClassVar[bool] = False

    def __init__(self) -> None:
        self._pid = os.getpid()

    def check(self) -> None:
        """Raise ForkedProcess in a child of the process that made this."""
        if self._pid != os.getpid():
            raise ForkedProcess(
                f"this store was opened in process {self._pid} and does not work in its child {os.getpid()}; {_ADVICE}"
            )

    def start_grpc(self) -> None:
        """Note that this process uses gRPC; raises ForkedProcess where it cannot."""
        self.check()
        if ForkGuard._grpc_lost:
            raise ForkedProcess(
                f"process {os.getpid()} was forked from one that had used gRPC, and cannot use it; {_ADVICE}"
            )
        ForkGuard._grpc_started = True

    @classmethod
    def _before_fork(cls) -> None:
        if cls._grpc_started and cls.grpc_handles_forks:
            _log.warning(
                "process %d forks after it has opened a store over gRPC, whose own fork handlers may crash the child; "
                "set %s=0 before gRPC is imported, or %s",
                os.getpid(),
                _SETTING,
                _ADVICE,
            )

    @classmethod
    def _after_fork_in_child(cls) -> None:
        cls._grpc_lost = cls._grpc_lost or cls._grpc_started
        if cls._grpc_lost:
            # What the parent left to the garbage collector would be given back to gRPC, which hangs or aborts over it.
            gc.freeze()


os.register_at_fork(before=ForkGuard._before_fork, after_in_child=ForkGuard._after_fork_in_child)

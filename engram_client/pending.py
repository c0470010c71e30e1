"""Rows on their way: what a prefetch hands out at once."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

from engram_client.arrays import Uint8Array


class PendingRows:
    """A fetch that was started and not awaited. `await pending` gives the rows or raises what went wrong.

    Cancelling it, or the task that awaits it, ends the lookup at once: the buffer is the caller's again and no late
    reply touches it. One that nobody awaits costs nothing and complains about nothing.
    """

    def __init__(self, task: asyncio.Task[Uint8Array]) -> None:
        self._task = task
        task.add_done_callback(_retrieve)

    def __await__(self) -> Generator[object, None, Uint8Array]:
        return self._task.__await__()

    def done(self) -> bool:
        """Tell whether the rows are there, or never will be."""
        return self._task.done()

    def cancel(self) -> bool:
        """End the lookup; False if it had ended already."""
        return self._task.cancel()


def _retrieve(task: asyncio.Task[Uint8Array]) -> None:
    """Look at the outcome, so that asyncio does not log the failure of a prefetch that was discarded."""
    if not task.cancelled():
        task.exception()

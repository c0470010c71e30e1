"""Several works at once, none of which is left behind: where one may still write, nobody goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from typing import Any

from engram_client.errors import Unavailable


def begin(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """Start a task that is among `tasks` until it ends."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def all_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; the first that fails ends the others.

    No TaskGroup: up to Python 3.12 one forgets a cancel from outside that meets a failure, and leaves a task that was
    not cancelled counted as one that was.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failures = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    finally:
        await end(tasks)
    for failure in failures:
        if failure is not None:
            raise failure
    if any(task.cancelled() for task in tasks):  # by others than us
        raise Unavailable("a part of the fetch was broken off")


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and return when all have ended, whatever with. A cancel that comes meanwhile waits for that too."""
    for task in tasks:
        task.cancel()
    cancelled = None
    while any(not task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # or it would be told as one that nobody asked for
    if cancelled is not None:
        raise cancelled

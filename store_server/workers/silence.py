"""Workers that run and do nothing: stopped, or stuck in a page that never comes. A process table does not tell them.

Each is asked every second for a sign of its event loop. Who was asked in vain for some time does not count as serving;
after longer it is ended, for another to take its place; and if not even that ends it, it counts as dead. One that has
yet to say its first word has more time, for its imports on a busy machine. Times are counted in questions, so that a
parent that was itself stopped for an hour blames nobody.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from store_server.workers.process import WorkerProcess

log = structlog.get_logger()
_ASK_SECONDS: Final = 1.0
_MOST_TO_SERVE: Final = 5
_MOST_TO_LIVE: Final = 20
_MOST_TO_BEGIN: Final = 120
_MOST_TO_END: Final = 60  # once killed: to give back hundreds of GiB takes a while. Whoever waits for a disk stays


def serves(worker: WorkerProcess) -> bool:
    """Tell whether a worker serves clients and shows it."""
    return bool(worker.is_serving) and worker.unanswered < _MOST_TO_SERVE


def is_lost(worker: WorkerProcess) -> bool:
    """Tell whether nothing is to be hoped of a worker, not even its end."""
    return not worker.ended.done() and worker.unanswered >= _most_to_live(worker) + _MOST_TO_END


async def ask_again_and_again(workers: Callable[[], Iterable[WorkerProcess]], asked: Callable[[], None]) -> None:
    """Ask all workers that run until cancelled; `asked` is called each time, when the counts have changed."""
    while True:
        await asyncio.sleep(_ASK_SECONDS)
        for worker in workers():
            if not worker.ended.done():
                worker.ask_for_life()
                _heed(worker)
        asked()


def _most_to_live(worker: WorkerProcess) -> int:
    return _MOST_TO_LIVE if worker.has_answered else _MOST_TO_BEGIN


def _heed(worker: WorkerProcess) -> None:
    most = _most_to_live(worker)
    if worker.unanswered == most:
        worker.failure = worker.failure or f"did not answer for {most * _ASK_SECONDS:g} s, so it was killed"
        worker.send_signal(signal.SIGKILL)
    elif worker.unanswered == most + _MOST_TO_END:
        log.error("worker was killed and does not end; its disk may not answer", worker=worker.number, pid=worker.pid)
    elif worker.is_serving and worker.unanswered == _MOST_TO_SERVE:
        log.error("worker does not answer, does not count as serving", worker=worker.number, pid=worker.pid)

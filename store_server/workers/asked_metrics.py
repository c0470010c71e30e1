"""How a parent asks a worker for its metrics: it sends the end of a pipe, and the worker writes them into it.

So they may be of any size, and an answer that comes too late finds nobody at the other end and disturbs no other.
"""

from __future__ import annotations

import asyncio
import os
import select
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.workers.channel import Channel

log = structlog.get_logger()
_END: Final = b"# EOF\n"  # what lacks it was cut off
_WRITE_SECONDS: Final = 2.0  # without the parent taking anything


async def ask_for_metrics(channel: Channel) -> bytes | None:
    """Return the metrics of the worker at the other end, which does not wait; None if it does not answer as it should.

    Waits as long as the worker keeps its end of the pipe; cancelled, it leaves nothing behind.
    """
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with FileIO(reading) as pipe:
        try:
            channel.send({"show": "metrics"}, writing)
        except OSError:  # it has just died, or has not read many a question before this one
            return None
        finally:
            os.close(writing)
        text = await _all_of(pipe)
    return text.removesuffix(_END) if text.endswith(_END) else None


async def _all_of(pipe: FileIO) -> bytes:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    try:
        return await reader.read()
    finally:
        transport.close()


class MetricsTeller:
    """A worker's side: answers with what `text` returns, in a thread, one question after the other.

    Belongs to the event loop: a worker whose loop stands still does not answer.
    """

    def __init__(self, channel: Channel, text: Callable[[], bytes]) -> None:
        self._channel = channel
        self._text = text
        self._thread = ThreadPoolExecutor(1, "metrics")
        channel.set_timeout(0)
        asyncio.get_running_loop().add_reader(channel.fileno(), self._hear)

    def close(self) -> None:
        """Answer no more."""
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _hear(self) -> None:
        try:
            received = self._channel.receive()
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:  # the parent has gone
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            return
        for pipe in received.descriptors:
            self._thread.submit(self._answer, pipe)

    def _answer(self, pipe: int) -> None:
        try:
            if not _is_given_up(pipe):
                _write(pipe, self._text() + _END)
        except OSError:  # nobody waits for it any more
            return
        except Exception:  # a mistake of ours: the parent shows that there is something wrong
            log.exception("metrics could not be collected")
        finally:
            os.close(pipe)


def _is_given_up(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))  # the other end is closed


def _write(pipe: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        if not select.select((), (pipe,), (), _WRITE_SECONDS)[1]:
            raise TimeoutError("the parent takes nothing")
        rest = rest[os.write(pipe, rest) :]

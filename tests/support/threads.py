"""Running async things beside a test that is not async."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

Value = TypeVar("Value")
WAIT_SECONDS = 60.0


@contextlib.contextmanager
def in_thread(manager: AbstractAsyncContextManager[Value]) -> Iterator[Value]:
    """Hold an async context manager open on a loop in another thread as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        value = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result(WAIT_SECONDS)
        try:
            yield value
        finally:
            asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result(WAIT_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_SECONDS)
        loop.close()

"""An event loop whose clock jumps to the next timer instead of waiting for it."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

Value = TypeVar("Value")


class _NoWaiting(selectors.SelectSelector):
    """Passes the time that the loop wants to wait on to the loop's clock."""

    loop: "VirtualClockLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and there is no timer that could end it")
        self.loop.now += max(0.0, timeout)
        return super().select(0)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """For code that waits by the loop's timers alone; its clock starts at 0."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _NoWaiting()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


async def seconds_of(work: Awaitable[object]) -> float:
    """Await something; returns how long it took by the clock of the loop."""
    now = asyncio.get_running_loop().time
    began = now()
    await work
    return now() - began


def run_virtually(coroutine: Coroutine[object, object, Value]) -> Value:
    """Run a coroutine to its end on a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(coroutine)


def virtually(test: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    """Run an async test on a virtual clock."""

    def run(*args: object, **kwargs: object) -> None:
        run_virtually(test(*args, **kwargs))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run

"""The loop of a simulation: its clock jumps, and what it does depends on nothing but what runs on it."""

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")

_MOST_SECONDS = 1_000.0
_MOST_TURNS = 3_000_000


class Stuck(Exception):
    """The simulation would never end: says why."""


class _NumberedTask(asyncio.Task[Any]):
    """asyncio keeps tasks in sets, in the order of their hashes: here of their numbers, not of their addresses."""

    def __init__(self, number: int, work: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number = number  # before it is put into a set
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self._number


class _NoWaiting(selectors.SelectSelector):
    """Passes the time that the loop wants to wait on to its clock. There are no files or threads to look for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turns += 1
        if timeout is None:
            raise Stuck("everything waits, and there is no timer that could end it")
        if self._turns > _MOST_TURNS or self.now > _MOST_SECONDS:
            raise Stuck(f"no end after {self._turns} turns of the loop and {self.now:g} s")
        self.now += max(0.0, timeout)
        return []


class SimulationLoop(asyncio.SelectorEventLoop):
    """Runs the same program in the same order each time; its clock starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self._clock = _NoWaiting()
        super().__init__(self._clock)
        numbers = itertools.count(1)
        self.set_task_factory(lambda loop, work, **options: _NumberedTask(next(numbers), work, loop=loop, **options))

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # noqa: ARG002
        """Do at once what would be done in a thread: when that ends would be chance."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def simulate(work: Coroutine[Any, Any, Value]) -> Value:
    """Run `work` to its end; raises Stuck when it has none."""
    with asyncio.Runner(loop_factory=SimulationLoop) as runner:
        return runner.run(work)

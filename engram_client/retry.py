"""Trying again, with back-off, inside the caller's time limit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from engram_client.errors import Overloaded, TimeLimitExceeded, Unavailable
from engram_client.retry_counts import RetryCounts

_FIRST_DELAY_SECONDS: Final = 0.02
_LONGEST_DELAY_SECONDS: Final = 1.0
_LONGEST_OVERLOAD_SECONDS: Final = 2.0
_MOST_DOUBLINGS: Final = 10
_LONGEST_TIMEOUT_SECONDS: Final = 10_000_000  # some months; more than the timers below us can count
_Result = TypeVar("_Result")


async def once(attempt: Callable[[], Awaitable[_Result]], timeout: float, what: str) -> _Result:
    """Return what a single `attempt` returns, for those who have somebody else to ask when it fails."""
    check_timeout(timeout)
    try:
        async with asyncio.timeout(timeout):
            return await attempt()
    except TimeoutError as expired:
        raise TimeLimitExceeded(f"{what}: no answer within {timeout:.4g} s") from expired


async def with_retries(
    attempt: Callable[[], Awaitable[_Result]],
    timeout: float,
    what: str,
    *,
    last: Unavailable | None = None,
    seconds_gone: float = 0.0,
    counts: RetryCounts | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _Result:
    """Return what `attempt` returns, repeating it while it raises Unavailable, for at most `timeout` seconds.

    For calls that change nothing and may therefore be sent again after any failure. `what` starts the error messages.
    Who has made a first attempt says how it failed, `last`, and how many of the seconds are gone. `counts` takes note
    of each attempt but the first.
    """
    check_timeout(timeout)
    delays, refusals = _delays(), 0
    try:
        async with asyncio.timeout(timeout - seconds_gone):
            while True:
                if last is not None:
                    await sleep(next(delays) + overload_delay(last, refusals))
                    refusals += isinstance(last, Overloaded)
                    if counts is not None:
                        counts.count(last)
                try:
                    return await attempt()
                except Unavailable as error:
                    last = error
    except TimeoutError as expired:
        if isinstance(last, Overloaded):
            raise Overloaded(f"{what}: gave up after {timeout:.4g} s; {last}", last.retry_after) from last
        if last is not None:
            raise Unavailable(f"{what}: gave up after {timeout:.4g} s; the last failure was: {last}") from last
        raise TimeLimitExceeded(f"{what}: no answer within {timeout:.4g} s") from expired


def overload_delay(last: Exception | None, refusals: int) -> float:
    """Return the seconds to wait beyond a pause after a node refused to begin more, as it has `refusals` times before.

    It doubles with each, up to a limit, and half of it is left to chance, so that clients do not return all at once.
    """
    if not isinstance(last, Overloaded):
        return 0.0
    longest = min(last.retry_after * 2.0 ** min(refusals, _MOST_DOUBLINGS), _LONGEST_OVERLOAD_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load; nothing secret


def check_timeout(timeout: float) -> float:
    """Return `timeout` if it is a usable number of seconds, else raise ValueError."""
    if not 0 < timeout <= _LONGEST_TIMEOUT_SECONDS:
        raise ValueError(f"a time limit must be above 0 seconds and at most {_LONGEST_TIMEOUT_SECONDS}, got {timeout}")
    return timeout


def _delays() -> Iterator[float]:
    """Yield seconds that double up to a limit, shortened at random so that clients do not return all at once."""
    delay = _FIRST_DELAY_SECONDS
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load; nothing secret
        delay = min(2 * delay, _LONGEST_DELAY_SECONDS)

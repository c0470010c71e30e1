"""Several works at once: the first that fails ends the others, and a cancel from outside is taken for no failure."""

import asyncio

import pytest
from support.virtual_clock import run_virtually

from engram_client.at_once import all_of
from engram_client.errors import Unavailable


async def fail(seconds):
    await asyncio.sleep(seconds)
    raise Unavailable("gone")


async def end_slowly(ending):
    try:
        await asyncio.sleep(10.0)
    finally:
        ending()
        await asyncio.sleep(0.1)


def test_the_first_that_fails_ends_the_others():
    async def fail_one():
        ended = []
        with pytest.raises(Unavailable, match="gone"):
            await all_of([end_slowly(lambda: ended.append(True)), fail(1.0)])
        return ended, asyncio.get_running_loop().time(), asyncio.current_task().cancelling()

    assert run_virtually(fail_one()) == ([True], pytest.approx(1.1), 0)


def test_a_cancel_from_outside_that_meets_a_failure_is_a_cancel():
    async def cancel_while_one_fails():
        task = asyncio.create_task(all_of([end_slowly(lambda: task.cancel()), fail(1.0)]))
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(cancel_while_one_fails())

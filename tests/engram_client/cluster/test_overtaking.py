"""Of two that do the same, the first to succeed ends the other; nobody else's cancel is taken for its own."""

import asyncio

import pytest
from support.virtual_clock import run_virtually

from engram_client.cluster.overtaking import Overtaking
from engram_client.errors import Unavailable


class Log(list):
    """Tells what began, ended and was cancelled, and when."""

    async def work(self, name, seconds, error=None):
        self.append(f"{name} began")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.append(f"{name} cancelled")
            raise
        self.append(f"{name} failed" if error else f"{name} ended")
        if error:
            raise error


async def overtake(log, own, other, delay=1.0):
    async with Overtaking(delay, lambda: None if other is None else log.work("other", *other)):
        await log.work("own", *own)
    return asyncio.get_running_loop().time()


def run(own, other, delay=1.0):
    log = Log()
    return run_virtually(overtake(log, own, other, delay)), log


@pytest.mark.parametrize("delay", [1.0, None])
def test_what_is_quick_enough_begins_nothing(delay):
    assert run((0.5,), (0.1,), delay) == (0.5, ["own began", "own ended"])


def test_where_nothing_else_can_be_begun_it_is_waited_for():
    assert run((3.0,), None) == (3.0, ["own began", "own ended"])


def test_what_overtakes_ends_what_it_overtook():
    assert run((5.0,), (1.0,)) == (2.0, ["own began", "other began", "other ended", "own cancelled"])


def test_what_cannot_overtake_is_ended():
    assert run((2.0,), (5.0,)) == (2.0, ["own began", "other began", "own ended", "other cancelled"])


def test_what_fails_is_saved_by_the_other():
    own = (2.0, Unavailable("own"))

    assert run(own, (3.0,)) == (4.0, ["own began", "other began", "own failed", "other ended"])


def test_a_failure_of_the_other_changes_nothing():
    own, other = (4.0,), (1.0, Unavailable("other"))

    assert run(own, other) == (4.0, ["own began", "other began", "other failed", "own ended"])


@pytest.mark.parametrize("seconds_of_other", [0.5, 3.0])
def test_when_both_fail_the_failure_of_the_block_is_raised(seconds_of_other):
    with pytest.raises(Unavailable, match="own"):
        run((2.0, Unavailable("own")), (seconds_of_other, Unavailable("other")))


def test_both_that_end_at_the_same_moment_leave_no_cancel_behind():
    async def twice():
        log = Log()
        await overtake(log, (2.0,), (1.0,))
        await asyncio.sleep(1.0)
        return asyncio.current_task().cancelling(), log

    cancelling, log = run_virtually(twice())

    assert cancelling == 0
    assert log[:2] == ["own began", "other began"]


def test_a_cancel_from_outside_at_the_end_waits_until_the_other_has_ended():
    async def cancelled_while_the_other_ends():
        log = Log()

        async def slow_to_end():
            try:
                await asyncio.sleep(5.0)
            finally:
                task.cancel()
                await asyncio.sleep(0.1)
                log.append("other ended")

        async def overtaken_in_vain():
            async with Overtaking(1.0, slow_to_end):
                await asyncio.sleep(2.0)

        task = asyncio.create_task(overtaken_in_vain())
        with pytest.raises(asyncio.CancelledError):
            await task
        return log

    assert run_virtually(cancelled_while_the_other_ends()) == ["other ended"]


@pytest.mark.parametrize("at", [0.5, 1.5, 2.0])
def test_a_cancel_from_outside_ends_both(at):
    async def cancelled_from_outside():
        log = Log()
        task = asyncio.create_task(overtake(log, (5.0,), (1.0 if at == 2.0 else 5.0,)))
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}, log

    left, log = run_virtually(cancelled_from_outside())

    assert not left
    assert "own ended" not in log

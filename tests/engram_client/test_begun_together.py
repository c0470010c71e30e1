"""Jobs that are started together wake the loop's thread once, and are otherwise jobs like all."""

import asyncio
import concurrent.futures
import threading

import pytest

from engram_client.loop_thread import LoopThread, begun_together

SECONDS = 30


@pytest.fixture
def loop_thread():
    loop_thread = LoopThread()
    yield loop_thread
    loop_thread.close(_nothing, SECONDS)


async def _nothing():
    pass


def test_what_is_started_together_begins_at_the_end_of_the_block_and_in_order(loop_thread):
    begun = []

    async def begin(number):
        begun.append(number)

    with begun_together():
        jobs = [loop_thread.start(begin(number)) for number in (1, 2)]
        other_thread = threading.Thread(target=lambda: loop_thread.run(begin("of another thread")))
        other_thread.start()
        other_thread.join(SECONDS)
        with begun_together():
            jobs.append(loop_thread.start(begin(3)))
        loop_has_turned(loop_thread)

        assert begun == ["of another thread"]

    for job in jobs:
        job.future.result(SECONDS)
    assert begun == ["of another thread", 1, 2, 3]


def loop_has_turned(loop_thread):
    """Wait until the loop has done what it was given before; in another thread, which puts nothing off."""
    turned = threading.Thread(target=lambda: loop_thread.run(asyncio.sleep(0)))
    turned.start()
    turned.join(SECONDS)


def test_a_cancel_in_the_block_ends_what_has_not_begun(loop_thread):
    with begun_together():
        job = loop_thread.start(asyncio.sleep(3600))
        job.request_cancel()

    with pytest.raises(concurrent.futures.CancelledError):
        job.future.result(SECONDS)


def test_an_error_in_the_block_keeps_nothing_from_beginning(loop_thread):
    jobs = []

    with pytest.raises(RuntimeError, match="in the block"):
        start_and_fail(loop_thread, jobs)

    assert jobs[0].future.result(SECONDS) == "done"
    assert loop_thread.run(asyncio.sleep(0, "and later ones at once")) == "and later ones at once"


def start_and_fail(loop_thread, jobs):
    with begun_together():
        jobs.append(loop_thread.start(asyncio.sleep(0, "done")))
        raise RuntimeError("in the block")

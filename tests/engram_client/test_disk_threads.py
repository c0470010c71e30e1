"""A store's own threads: few, begun when there is work, and no reason for a program not to end."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from engram_client.embedded.disk_threads import DiskThreads


@pytest.fixture
def threads():
    threads = DiskThreads(2)
    yield threads
    threads.close()


async def test_work_is_done_by_no_more_threads_than_allowed(threads):
    idents = await asyncio.gather(*(threads.run(threading.get_ident) for _ in range(50)))

    assert 1 <= len(set(idents) - {threading.get_ident()}) <= 2


async def test_an_error_arrives_where_the_work_is_waited_for(threads):
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


async def test_work_that_was_not_begun_when_it_was_cancelled_never_is(threads):
    gate, begun = threading.Event(), threading.Event()
    busy = [asyncio.create_task(threads.run(lambda: gate.wait(60))) for _ in range(2)]
    waiting = asyncio.create_task(threads.run(begun.set))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait([waiting])
    gate.set()
    await asyncio.gather(*busy)
    await threads.run(lambda: None)

    assert waiting.cancelled()
    assert not begun.is_set()


async def test_closing_cancels_what_waits_for_a_thread_that_never_ends_and_ends_the_others(threads):
    gate, begun = threading.Event(), threading.Event()
    stuck = asyncio.create_task(threads.run(lambda: (begun.set(), gate.wait(60))))
    await asyncio.to_thread(begun.wait, 60)
    idle = await threads.run(threading.current_thread)

    threads.close()
    await asyncio.wait([stuck])
    await asyncio.to_thread(idle.join, 60)
    gate.set()

    assert stuck.cancelled()
    assert not idle.is_alive()


async def test_a_forked_child_has_threads_of_its_own():
    threads = DiskThreads(1)
    await threads.run(lambda: None)

    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # a hang ends the child, and shows
        asyncio.events._set_running_loop(None)  # the parent's
        os._exit(asyncio.new_event_loop().run_until_complete(threads.run(lambda: 7)))
    _, status = await asyncio.to_thread(os.waitpid, child, 0)

    assert os.waitstatus_to_exitcode(status) == 7


def test_a_program_ends_although_a_thread_does_not():
    program = """
import asyncio, threading
from engram_client.embedded.disk_threads import DiskThreads

async def give_up():
    begun = threading.Event()
    stuck = asyncio.create_task(threads.run(lambda: (begun.set(), threading.Event().wait())))
    while not begun.is_set():
        await asyncio.sleep(0)
    stuck.cancel()

threads = DiskThreads()
asyncio.run(give_up())
"""

    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0

"""The blocking face gives what the async one gives, from any thread, and never leaves a buffer in doubt."""

import asyncio
import contextlib
import itertools
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from traceback import walk_stack

import numpy as np
import pytest
from support.fake_node import FakeNode
from support.fake_transport import FakeTransport
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table
from support.threads import in_thread

import engram_client
from engram_client import errors
from engram_client.loop_thread import LoopThread

ROWS = random_rows(10_000, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("blocking") / "root"
    write_table(root, "layer-1", ROWS)
    return root


@pytest.fixture(scope="module")
def node(root):
    with node_process(root) as node:
        yield node


@pytest.fixture(params=["grpc", "file"])
def store(request, root, node):
    with engram_client.connect_blocking(node.url if request.param == "grpc" else f"file://{root}") as store:
        yield store


def test_fetch_prefetch_and_tables_work_without_await(store):
    table = store.table("layer-1")
    ids = np.arange(50).reshape(5, 10)
    out = np.empty((5, 10, 48), np.uint8)

    pending = table.prefetch(ids)

    assert table.fetch(ids, out=out) is out
    assert np.array_equal(out, ROWS[ids])
    assert np.array_equal(pending.result(timeout=30), ROWS[ids])
    assert pending.done()
    assert [described.name for described in store.tables()] == ["layer-1"]
    assert (table.num_rows, table.row_bytes, table.info.version) == (10_000, 48, table.version)


def test_a_callback_is_called_at_the_end_or_at_once_after_it(store):
    ended = threading.Event()
    pending = store.table("layer-1").prefetch([1, 2])
    at_once = []

    pending.add_done_callback(ended.set)
    assert ended.wait(30)
    pending.add_done_callback(lambda: at_once.append(pending.done()))

    assert at_once == [True]


def test_many_threads_may_share_one_table(store):
    table = store.table("layer-1")

    def fetch_some(seed):
        ids = np.random.default_rng(seed).integers(0, len(ROWS), 3000)
        return all(np.array_equal(table.fetch(ids), ROWS[ids]) for _ in range(10))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(fetch_some, range(16)))


def test_wrong_arguments_raise_where_the_prefetch_is_issued(store):
    table = store.table("layer-1")

    with pytest.raises(errors.RowOutOfRange):
        table.prefetch([10_000])
    with pytest.raises(errors.InvalidBuffer):
        table.prefetch([1], out=np.empty(1, np.uint8))


def test_a_store_that_was_closed_says_so_and_may_be_closed_again(store):
    table = store.table("layer-1")
    store.close()
    store.close()

    with pytest.raises(errors.StoreClosed):
        table.fetch([1])
    with pytest.raises(errors.StoreClosed):
        store.table("layer-1")


@pytest.fixture
def silent_node():
    """A node that answers a lookup only once it is released."""
    release = threading.Event()
    asked = threading.Event()

    async def late(request, send):
        if request.rows[0] != 1:
            return await node.answer_rightly(request, send)
        asked.set()
        await asyncio.to_thread(release.wait, 60)
        await send(node.right_answer(request))

    node = FakeNode(ROWS, late)
    with in_thread(node.listening()) as url:
        yield url, asked, release
        release.set()


def test_a_result_that_is_not_there_in_time_gives_the_buffer_back(silent_node):
    url, asked, release = silent_node
    out = np.full((1, 48), 7, np.uint8)
    with engram_client.connect_blocking(url) as store:
        table = store.table("t")
        pending = table.prefetch([1], out=out)
        assert asked.wait(30)

        with pytest.raises(errors.TimeLimitExceeded, match="within 0.05 s"):
            pending.result(timeout=0.05)
        release.set()

        assert np.array_equal(table.fetch([2]), ROWS[2:3])  # replies come in order: the late one has been and gone
    assert (out == 7).all()
    assert pending.done()


def test_a_cancelled_prefetch_gives_the_buffer_back_before_cancel_returns(silent_node):
    url, asked, release = silent_node
    out = np.full((1, 48), 7, np.uint8)
    with engram_client.connect_blocking(url) as store:
        table = store.table("t")
        pending = table.prefetch([1], out=out)
        assert asked.wait(30)

        assert pending.cancel()
        assert not pending.cancel()
        release.set()
        table.fetch([2])

        assert (out == 7).all()
        with pytest.raises(CancelledError):
            pending.result()


def test_the_fetchs_own_time_limit_is_told_in_its_own_words(silent_node):
    url, _, _ = silent_node
    with engram_client.connect_blocking(url) as store:
        pending = store.table("t").prefetch([1], timeout=0.2)

        with pytest.raises(errors.TimeLimitExceeded, match="no answer within 0.2 s"):
            pending.result()


def test_closing_the_store_ends_what_is_under_way(silent_node):
    url, asked, _ = silent_node
    store = engram_client.connect_blocking(url)
    pending = store.table("t").prefetch([1])
    assert asked.wait(30)

    store.close()

    with pytest.raises(errors.StoreClosed):
        pending.result(timeout=30)


def test_a_refresh_in_another_thread_never_mixes_two_versions(tmp_path):
    small, large = random_rows(50, 16, seed=1), random_rows(5000, 16, seed=2)
    write_table(tmp_path / "root", "t", small)
    ids = np.arange(50)
    with (
        engram_client.connect_blocking(f"file://{tmp_path}/root") as store,
        ThreadPoolExecutor() as threads,
    ):
        table = store.table("t")

        def switch():
            for rows in (large, small) * 5:
                write_table(tmp_path / "root", "t", rows)
                table.refresh()

        switching = threads.submit(switch)
        while not switching.done():
            fetched = table.fetch(ids)
            assert np.array_equal(fetched, small) or np.array_equal(fetched, large[:50])
        switching.result()


def wait_until_it_waits(thread):
    """Return once `thread` waits for a result: it is about to, and sleeps; a signal before that would not wake it."""
    deadline = time.monotonic() + 60
    (native,) = (some.native_id for some in threading.enumerate() if some.ident == thread)
    waiting = [threading.Condition.wait.__code__, Future.result.__code__]
    while [
        frame.f_code for frame, _ in itertools.islice(walk_stack(sys._current_frames()[thread]), 2)
    ] != waiting or "S (sleeping)" not in Path(f"/proc/self/task/{native}/status").read_text():
        assert time.monotonic() < deadline


@pytest.fixture
def transport():
    transport = FakeTransport()
    yield transport
    transport.may_close.set()


def store_of(transport, close_seconds=60.0):
    return engram_client.BlockingStore(engram_client.Store(transport, 60.0), close_seconds=close_seconds)


def test_threads_that_close_a_store_at_once_close_it_once_and_all_wait_for_the_end(transport):
    store = store_of(transport)
    identities = []
    all_there = threading.Barrier(5)

    def close():
        identities.append(threading.get_ident())
        all_there.wait(60)
        store.close()
        return transport.closed

    with ThreadPoolExecutor(4) as threads:
        closing = [threads.submit(close) for _ in range(4)]
        all_there.wait(60)
        for identity in identities:
            wait_until_it_waits(identity)
        transport.may_close.set()

        assert [closed.result(60) for closed in closing] == [1, 1, 1, 1]


def test_a_store_that_does_not_close_is_given_up_in_time_and_what_ran_is_ended(transport):
    store = store_of(transport, close_seconds=0.05)
    pending = store.table("t").prefetch([1])

    with pytest.raises(errors.TimeLimitExceeded, match="within 0.05 s"):
        store.close()

    assert transport.cancelled == 1
    with pytest.raises(errors.StoreClosed):
        pending.result(timeout=60)
    with pytest.raises(errors.StoreClosed):
        store.table("t")


def test_a_program_told_to_end_ends_with_its_status_though_the_store_does_not_close(transport):
    with pytest.raises(SystemExit, match="143") as caught, store_of(transport, close_seconds=0.05):
        raise SystemExit(143)

    assert "within 0.05 s" in caught.value.__notes__[0]


def test_what_grpc_reports_after_a_store_was_closed_still_finds_the_loop(transport):
    transport.may_close.set()
    with store_of(transport) as store:
        store.table("t")
    reported = threading.Event()

    transport.loop.call_soon_threadsafe(reported.set)

    assert reported.wait(60)


def test_stores_that_follow_one_another_share_a_thread(transport):
    transport.may_close.set()

    def thread_of_a_store():
        with store_of(transport) as store:
            store.table("t")
        return transport.loop

    assert len({thread_of_a_store() for _ in range(5)}) == 1


@contextlib.contextmanager
def interrupted(begun: threading.Event) -> Iterator[pytest.ExceptionInfo[KeyboardInterrupt]]:
    """Interrupt the block, as Ctrl-C does, once what it waits for has begun and this thread waits for the result."""
    this, over = threading.get_ident(), threading.Event()

    def interrupt():
        assert begun.wait(60)
        wait_until_it_waits(this)
        signal.pthread_kill(this, signal.SIGINT)
        # A signal that comes just before a thread goes to sleep is heard when it wakes: people press the keys again.
        while not over.wait(5):
            signal.pthread_kill(this, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt) as caught:
            yield caught
    finally:
        over.set()
        thread.join(60)
        signal.signal(signal.SIGINT, handler)


def test_an_interrupted_result_ends_the_fetch_and_gives_the_buffer_back(transport):
    transport.may_close.set()
    with store_of(transport) as store:
        pending = store.table("t").prefetch([1])

        with interrupted(transport.begun):
            pending.result()

        assert pending.done()
        assert transport.cancelled == 1


def test_an_interrupted_call_is_ended(transport):
    transport.may_close.set()
    with store_of(transport) as store:
        with interrupted(transport.begun):
            store.tables()

        assert transport.cancelled == 1


@pytest.fixture
def stuck():
    """A fetch that keeps its loop from anything else, as a disk that does not answer may; and what lets it go on."""
    loop, begun, release = LoopThread(), threading.Event(), threading.Event()

    async def fetch():
        begun.set()
        release.wait(60)
        await asyncio.sleep(0)

    async def nothing():
        pass

    pending = engram_client.BlockingPendingRows(loop.start(fetch()), "rows of table 't'", cancel_seconds=0.05)
    assert begun.wait(60)
    yield pending, begun, release
    release.set()
    loop.close(nothing, 60)


@pytest.mark.parametrize("end", [lambda pending: pending.result(timeout=0.01), lambda pending: pending.cancel()])
def test_a_fetch_that_cannot_be_ended_in_time_keeps_its_buffer_and_says_so(stuck, end):
    pending, _, release = stuck

    with pytest.raises(errors.TimeLimitExceeded, match="do not use its buffer"):
        end(pending)

    assert not pending.done()
    release.set()
    with pytest.raises(CancelledError):
        pending.result()


def test_the_end_of_a_fetch_can_be_asked_for_without_waiting_for_it(stuck):
    pending, _, release = stuck

    pending.request_cancel()

    assert not pending.done()
    release.set()
    with pytest.raises(CancelledError):
        pending.result()
    pending.request_cancel()


def test_an_interrupt_of_a_fetch_that_cannot_be_ended_in_time_says_so_too(stuck):
    pending, begun, _ = stuck

    with interrupted(begun) as caught:
        pending.result()

    assert "do not use its buffer" in caught.value.__notes__[0]

"""Whatever a node does, a fetch ends by its time limit with the right rows or with an error, and buffers stay whole."""

import asyncio

import grpc
import numpy as np
import pytest
from support.fake_node import BreakStream, FakeNode
from support.rows import random_rows
from support.threads import in_thread

import engram_client
from engram_client import errors
from engram_store.v1 import error_reason_pb2 as reasons
from engram_store.v1 import lookup_service_pb2 as lookup

ROWS = random_rows(5000, 32)
VERSION_UNAVAILABLE = 9  # by its number: nodes that know this reason are newer than the first clients


async def test_a_node_that_never_answers_costs_no_more_than_the_time_limit():
    asked = asyncio.Event()

    async def silent(request, send):
        asked.set()

    async with FakeNode(ROWS, silent).listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")

        with pytest.raises(errors.TimeLimitExceeded, match=r"2 rows of table 't' .* no answer within 0.2 s"):
            await table.fetch([1, 2], timeout=0.2)

    assert asked.is_set()
    assert issubclass(errors.TimeLimitExceeded, TimeoutError)


async def test_a_node_that_is_not_there_is_named_with_the_reason():
    async with FakeNode(ROWS).listening() as url:
        pass

    async with engram_client.connect(url, timeout=0.5) as store:
        with pytest.raises(errors.Unavailable, match=url.removeprefix("grpc://")) as caught:
            await store.table("t")

    assert "gave up after 0.5 s" in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


async def test_replies_in_any_order_land_where_they_belong():
    held = []

    async def reversed_in_fours(request, send):
        held.append(request)
        if len(held) == 4:
            batch, held[:] = held[:], []
            for late in reversed(batch):
                await send(node.right_answer(late))

    node = FakeNode(ROWS, reversed_in_fours, max_rows_per_lookup=100)
    ids = np.random.default_rng(0).integers(0, len(ROWS), 800)
    async with node.listening() as url, engram_client.connect(url) as store:
        fetched = await (await store.table("t")).fetch(ids)

    assert np.array_equal(fetched, ROWS[ids])
    assert len(node.requests) == 8


async def test_a_large_fetch_is_split_at_the_limit_that_the_node_states():
    node = FakeNode(ROWS, max_rows_per_lookup=7)
    async with node.listening() as url, engram_client.connect(url) as store:
        fetched = await (await store.table("t")).fetch(np.arange(100))

    assert np.array_equal(fetched, ROWS[:100])
    assert [len(request.rows) for request in node.requests] == [7] * 14 + [2]


def wrong_version(request, right):
    right.version = "v2"
    return right


def too_few_bytes(request, right):
    right.rows = right.rows[:-1]
    return right


def too_many_bytes(request, right):
    right.rows += b"\0" * 32
    return right


def no_message(request, right):
    return b"\xff\xff\xff"


@pytest.mark.parametrize("spoil", [wrong_version, too_few_bytes, too_many_bytes, no_message])
async def test_an_answer_that_cannot_be_right_is_refused_and_none_of_it_used(spoil):
    async def answer(request, send):
        await send(spoil(request, node.right_answer(request)))

    node = FakeNode(ROWS, answer)
    out = np.full((2, 32), 7, np.uint8)
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        with pytest.raises(errors.ProtocolError):
            await table.fetch([1, 2], out=out)
        node.script = node.answer_rightly

        assert (out == 7).all()
        assert np.array_equal(await table.fetch([1, 2]), ROWS[1:3])


async def test_answers_that_nobody_asked_for_are_ignored():
    async def answer_too_much(request, send):
        unknown = lookup.LookupStreamResponse(id=request.id + 1000, version="v1", rows=b"\0" * 64)
        doubled = lookup.LookupStreamResponse(id=request.id, version="v1", rows=b"\0" * 64)
        await send(unknown)
        await send(node.right_answer(request))
        await send(doubled)

    node = FakeNode(ROWS, answer_too_much)
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        out = np.zeros((2, 32), np.uint8)

        for first in range(50):
            await table.fetch([first, first + 1], out=out)
            assert np.array_equal(out, ROWS[first : first + 2])
    assert node.streams == 1


@pytest.mark.parametrize("ending", ["cancelled", "timed out", "pending cancelled"])
async def test_a_reply_that_comes_after_the_fetch_ended_touches_nobodys_buffer(ending):
    asked, release, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def late_once(request, send):
        if request.rows[0] != 1:
            return await node.answer_rightly(request, send)
        asked.set()
        await release.wait()
        await send(node.right_answer(request))
        answered.set()

    node = FakeNode(ROWS, late_once)
    out = np.full((2, 32), 7, np.uint8)
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        if ending == "timed out":
            with pytest.raises(errors.TimeLimitExceeded):
                await table.fetch([1, 2], out=out, timeout=0.2)
        elif ending == "cancelled":
            fetch = asyncio.create_task(table.fetch([1, 2], out=out))
            await asked.wait()
            fetch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetch
        else:
            pending = table.prefetch([1, 2], out=out)
            await asked.wait()
            assert pending.cancel()

        release.set()
        await answered.wait()
        # Replies arrive in order, so once a later one is here the late one has been and gone.
        assert np.array_equal(await table.fetch([3]), ROWS[3:4])

    assert (out == 7).all()
    assert node.streams == 1


async def test_a_prefetch_that_nobody_awaits_fails_in_silence(caplog):
    async def refuse(request, send):
        await send(b"\xff")

    async with FakeNode(ROWS, refuse).listening() as url, engram_client.connect(url) as store:
        pending = (await store.table("t")).prefetch([1])
        while not pending.done():
            await asyncio.sleep(0)
        del pending

    assert caplog.records == []


@pytest.mark.parametrize("reason", [reasons.ERROR_REASON_SHUTTING_DOWN, VERSION_UNAVAILABLE, 999])
async def test_a_node_that_cannot_answer_just_now_is_asked_again(reason):
    async def refuse_twice(request, send):
        if len(node.requests) > 2:
            return await node.answer_rightly(request, send)
        failure = lookup.Failure(code=14, message="not now", reason=reason)
        await send(lookup.LookupStreamResponse(id=request.id, failure=failure))

    node = FakeNode(ROWS, refuse_twice)
    async with node.listening() as url, engram_client.connect(url) as store:
        assert np.array_equal(await (await store.table("t")).fetch([4]), ROWS[4:5])

    assert len(node.requests) == 3


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("ERROR_REASON_ROW_OUT_OF_RANGE", errors.RowOutOfRange),
        ("ERROR_REASON_TABLE_DAMAGED", errors.TableDamaged),
        ("ERROR_REASON_REQUEST_TOO_LARGE", errors.RequestTooLarge),
        (999, errors.EngramError),
    ],
)
async def test_a_lookup_that_the_node_refuses_fails_at_once_and_leaves_the_stream_open(reason, error):
    async def refuse_first(request, send):
        if len(node.requests) > 1:
            return await node.answer_rightly(request, send)
        failure = lookup.Failure(code=3, message="no such luck", reason=reason)
        await send(lookup.LookupStreamResponse(id=request.id, failure=failure))

    node = FakeNode(ROWS, refuse_first)
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        with pytest.raises(error, match="no such luck"):
            await table.fetch([1])

        assert np.array_equal(await table.fetch([1]), ROWS[1:2])
    assert (len(node.requests), node.streams) == (2, 1)


@pytest.mark.parametrize("reason", ["SHUTTING_DOWN", "VERSION_UNAVAILABLE", "REASON_OF_A_NEWER_NODE"])
async def test_a_table_that_cannot_be_opened_just_now_is_asked_for_again(reason):
    node = FakeNode(ROWS)
    node.refusals = [(grpc.StatusCode.UNAVAILABLE, reason)] * 3
    async with node.listening() as url, engram_client.connect(url) as store:
        assert (await store.table("t")).version == "v1"

    assert node.refusals == []


async def refuse_as_unknown(request, send):
    failure = lookup.Failure(code=5, message="no such version", reason=reasons.ERROR_REASON_VERSION_NOT_FOUND)
    await send(lookup.LookupStreamResponse(id=request.id, failure=failure))


async def test_a_version_that_was_published_is_asked_for_until_lookups_know_it_too():
    async def refuse_twice(request, send):
        await (refuse_as_unknown if len(node.requests) <= 2 else node.answer_rightly)(request, send)

    node = FakeNode(ROWS, refuse_twice)
    async with node.listening() as url, engram_client.connect(url) as store:
        assert np.array_equal(await (await store.table("t")).fetch([4]), ROWS[4:5])

    assert len(node.requests) == 3


async def test_a_version_that_was_dropped_is_asked_for_once():
    node = FakeNode(ROWS, refuse_as_unknown)
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        node.refusals = [(grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")]

        with pytest.raises(errors.VersionNotFound):
            await table.fetch([4])

    assert len(node.requests) == 1


async def test_a_stream_that_breaks_again_and_again_does_not_lose_a_row():
    async def break_four_streams(request, send):
        if node.streams < 5 and len(node.requests) > 3 * node.streams:
            raise BreakStream
        await node.answer_rightly(request, send)

    node = FakeNode(ROWS, break_four_streams, max_rows_per_lookup=50)
    ids = np.random.default_rng(1).integers(0, len(ROWS), 1000)
    async with node.listening() as url, engram_client.connect(url) as store:
        fetched = await (await store.table("t")).fetch(ids)

        # The one that reads the stream that is open: those that broke left nothing behind.
        ours = [task for task in asyncio.all_tasks() if "LookupStream" in repr(task.get_coro())]

    assert np.array_equal(fetched, ROWS[ids])
    assert node.streams == 5
    assert len(ours) == 1


async def test_a_description_that_cannot_be_true_is_refused():
    node = FakeNode(ROWS)
    node.table.row_bytes = 0
    async with node.listening() as url, engram_client.connect(url) as store:
        with pytest.raises(errors.ProtocolError, match="0 bytes"):
            await store.table("t")


async def test_a_store_belongs_to_the_loop_that_used_it_first():
    async with FakeNode(ROWS).listening() as url, engram_client.connect(url) as store:
        await store.table("t")

        def in_another_loop():
            for call in (store.table("t"), store.close()):
                with pytest.raises(errors.WrongLoop, match="another event loop"):
                    asyncio.run(call)

        await asyncio.to_thread(in_another_loop)
        await store.table("t")


def test_a_store_whose_loop_is_closed_may_be_closed_in_another():
    async def fetch():
        return await (await store.table("t")).fetch([1])

    with in_thread(FakeNode(ROWS).listening()) as url:
        store = engram_client.connect(url)
        asyncio.run(fetch())

        asyncio.run(store.close())

        with pytest.raises(errors.StoreClosed):
            asyncio.run(fetch())


async def test_closing_a_store_ends_what_is_under_way():
    asked = asyncio.Event()

    async def silent(request, send):
        asked.set()

    async with FakeNode(ROWS, silent).listening() as url:
        store = engram_client.connect(url)
        pending = (await store.table("t")).prefetch([1])
        await asked.wait()

        await store.close()

        with pytest.raises(errors.StoreClosed):
            await pending


async def test_who_is_cancelled_while_the_store_is_closed_stays_cancelled():
    node = FakeNode(ROWS)
    node.may_list.clear()
    async with node.listening() as url:
        store = engram_client.connect(url)
        asking = asyncio.create_task(store.tables())
        async with asyncio.timeout(10):
            while node.listed == 0:
                await asyncio.sleep(0)

        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)  # it has begun, and asking has not heard of it
        asking.cancel()

        await closing
        with pytest.raises(asyncio.CancelledError):
            await asking
        node.may_list.set()


async def test_a_store_may_be_closed_while_its_first_stream_is_only_being_opened():
    async with FakeNode(ROWS).listening() as url:
        store = engram_client.connect(url)
        pending = (await store.table("t")).prefetch([1])
        await asyncio.sleep(0)  # the prefetch has opened a stream, whose tasks have not begun

        async with asyncio.timeout(10):
            await store.close()

        with pytest.raises(errors.StoreClosed):
            await pending

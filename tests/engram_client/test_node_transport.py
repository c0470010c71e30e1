"""A node of several processes as its client sees it: load spread, workers left out, strangers ignored."""

import asyncio
import contextlib
import re

import numpy as np
import pytest
from support.fake_node import BreakStream, FakeNode
from support.network import free_ports
from support.rows import random_rows

import engram_client
from engram_client import errors
from engram_client.node_transport import NodeTransport
from engram_client.url import worker_address
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import table_service_pb2 as tables

ROWS = random_rows(20_000, 264)
PATIENCE_SECONDS = 30


@contextlib.asynccontextmanager
async def workers(*nodes):
    """Nodes that say they are the workers of one; gives the first one's URL."""
    async with contextlib.AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(node.listening()) for node in nodes]
        name_workers(nodes, [port_of(url) for url in urls])
        yield urls[0]


@contextlib.asynccontextmanager
async def transport_to(url):
    transport = NodeTransport(url.removeprefix("grpc://"))
    yield transport
    await transport.close()


def name_workers(nodes, ports, node="n"):
    for each in nodes:
        each.workers = tables.Workers(node=node, listen=list(map(str, ports)))


def port_of(url):
    return int(url.rpartition(":")[2])


async def fetch_until(table, condition):
    """Fetch, two at a time, so that more than one worker is asked, until the condition holds; every row is checked."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            for rows in await asyncio.gather(table.fetch([1, 2]), table.fetch([1, 2])):
                assert np.array_equal(rows, ROWS[[1, 2]])


class HeldNode(FakeNode):
    """Answers the lookups of row 7 only once it may."""

    def __init__(self):
        super().__init__(ROWS)
        self.may_answer = asyncio.Event()
        self.held = 0
        self.script = self.answer_late

    async def answer_late(self, request, send):
        if list(request.rows) == [7]:
            self.held += 1
            await self.may_answer.wait()
        await self.answer_rightly(request, send)


async def test_each_fetch_goes_to_the_worker_with_the_least_under_way():
    nodes = [HeldNode(), HeldNode(), HeldNode()]
    async with workers(*nodes) as url, engram_client.connect(url) as store:
        table = await store.table("t")
        await fetch_until_all_answer(table, nodes)

        pending = [table.prefetch([7]) for _ in range(9)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sum(node.held for node in nodes) < 9:
                await table.fetch([1])
        held = [node.held for node in nodes]
        for node in nodes:
            node.may_answer.set()

        assert held == [3, 3, 3]
        for rows in pending:
            assert np.array_equal(await rows, ROWS[[7]])


async def fetch_until_all_answer(table, nodes):
    """Until as many fetches at once as there are nodes reach each of them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            before = [len(node.requests) for node in nodes]
            await asyncio.gather(*(table.fetch([1]) for _ in nodes))
            if all(len(node.requests) > count for node, count in zip(nodes, before, strict=True)):
                return


async def test_a_large_fetch_is_divided_among_the_workers():
    nodes = [FakeNode(ROWS, max_rows_per_lookup=100_000) for _ in range(2)]
    ids = np.random.default_rng(0).integers(0, len(ROWS), 40_000)
    async with workers(*nodes) as url, engram_client.connect(url, timeout=60) as store:
        table = await store.table("t")
        await fetch_until_all_answer(table, nodes)
        before = [asked_rows(node) for node in nodes]

        rows = await table.fetch(ids)

        assert np.array_equal(rows, ROWS[ids])
        assert [asked_rows(node) - count for node, count in zip(nodes, before, strict=True)] == [20_000, 20_000]


def asked_rows(node):
    return sum(len(request.rows) for request in node.requests)


async def test_a_worker_that_breaks_off_costs_no_fetch_and_is_used_again_once_it_answers():
    async def break_off(_request, _send):
        broken.append(1)
        raise BreakStream

    one, other, broken = FakeNode(ROWS), FakeNode(ROWS), []
    async with workers(one, other) as url, engram_client.connect(url) as store:
        table = await store.table("t")
        await fetch_until(table, lambda: other.requests)
        other.script = break_off
        await fetch_until(table, lambda: broken)

        other.script = other.answer_rightly
        before = len(other.requests)
        await fetch_until(table, lambda: len(other.requests) > before)
        assert len(other.requests) > before


async def test_a_worker_that_dies_in_a_large_fetch_costs_nothing_but_its_part_again():
    async def die(request, send):
        if len(request.rows) > 1000:
            raise BreakStream
        await other.answer_rightly(request, send)

    one, other = (FakeNode(ROWS, max_rows_per_lookup=100_000) for _ in range(2))
    ids = np.random.default_rng(1).integers(0, len(ROWS), 40_000)
    async with workers(one, other) as url, engram_client.connect(url, timeout=60) as store:
        table = await store.table("t")
        await fetch_until_all_answer(table, (one, other))
        other.script = die

        assert np.array_equal(await table.fetch(ids), ROWS[ids])


async def test_when_no_worker_is_left_the_address_of_the_url_is_tried_until_the_time_limit():
    async def break_off(_request, _send):
        raise BreakStream

    nodes = FakeNode(ROWS), FakeNode(ROWS)
    async with workers(*nodes) as url, engram_client.connect(url) as store:
        table = await store.table("t")
        await fetch_until_all_answer(table, nodes)
        for node in nodes:
            node.script = break_off

        with pytest.raises(errors.Unavailable, match=r"gave up after 0\.\d+ s.*broke the stream"):
            await table.fetch([1], timeout=0.5)


async def test_what_a_worker_took_to_fail_is_gone_from_the_time_of_the_next_one():
    async def fail_late(request, send):
        await asyncio.sleep(0.4)
        await send(lookup.LookupStreamResponse(id=request.id, version="another", rows=b""))

    direct, *its_workers = FakeNode(ROWS), FakeNode(ROWS), FakeNode(ROWS)
    async with direct.listening() as url, workers(*its_workers), engram_client.connect(url) as store:
        direct.workers = its_workers[0].workers
        table = await store.table("t")
        await fetch_until_all_answer(table, its_workers)
        for node in its_workers:
            node.script = fail_late
        direct.script = never_answer

        with pytest.raises(errors.TimeLimitExceeded) as caught:
            await table.fetch([1], timeout=1)

    assert float(re.search(r"no answer within ([\d.]+) s", str(caught.value))[1]) <= 0.6


async def test_ports_at_which_nobody_or_somebody_else_listens_are_left_alone():
    """As behind a proxy that gives the ports of a node other numbers."""
    node, sibling, stranger = FakeNode(ROWS), FakeNode(ROWS), FakeNode(random_rows(20_000, 264, seed=9))
    async with workers(node, sibling) as url, stranger.listening() as elsewhere, engram_client.connect(url) as store:
        ports = [port_of(url), *free_ports(1), port_of(elsewhere), int(node.workers.listen[1])]
        name_workers((node, sibling), ports)
        name_workers((stranger,), ports, node="another")
        table = await store.table("t")

        await fetch_until(table, lambda: len(sibling.requests) > 100)

        assert stranger.listed
        assert not stranger.requests


async def never_answer(_request, _send):
    await asyncio.Event().wait()


async def test_a_worker_that_hangs_costs_no_fetch_and_is_left_out():
    one, hanging = FakeNode(ROWS), FakeNode(ROWS)
    async with workers(one, hanging) as url, engram_client.connect(url, timeout=1) as store:
        table = await store.table("t")
        await fetch_until_all_answer(table, (one, hanging))
        hanging.script, before = never_answer, len(hanging.requests)
        hanging.may_list.clear()

        await fetch_until(table, lambda: len(hanging.requests) > before)

        before = len(hanging.requests)
        before_that = len(one.requests)
        await fetch_until(table, lambda: len(one.requests) > before_that + 50)
        assert len(hanging.requests) == before


async def test_a_worker_left_out_stays_so_when_a_fetch_from_before_gives_it_up():
    node, hanging = FakeNode(ROWS), HeldNode()
    async with workers(node, hanging) as url, engram_client.connect(url) as store:
        only_worker = [hanging.workers.listen[1], *free_ports(1)]
        name_workers((node, hanging), only_worker)
        table = await store.table("t")
        await fetch_until(table, lambda: hanging.requests)
        name_workers((hanging,), only_worker, node="not to be used")
        pending = [table.prefetch([7], timeout=seconds) for seconds in (0.3, 1.0)]

        assert np.array_equal(await asyncio.gather(*pending), [ROWS[[7]]] * 2)

        assert hanging.held == 2
        before = len(hanging.requests)
        assert np.array_equal(await table.fetch([1]), ROWS[[1]])
        assert len(hanging.requests) == before


async def test_a_large_fetch_that_comes_to_a_halt_is_taken_to_another():
    async def answer_the_first_only(request, send):
        asked.append(request)
        if len(asked) == 1:
            await halting.answer_rightly(request, send)

    node, halting, asked = FakeNode(ROWS), FakeNode(ROWS, max_rows_per_lookup=100_000), []
    node.table.max_rows_per_lookup = 100_000
    async with workers(node, halting) as url, engram_client.connect(url, timeout=1) as store:
        name_workers((node, halting), [halting.workers.listen[1], *free_ports(1)])
        table = await store.table("t")
        await fetch_until(table, lambda: halting.requests)
        halting.script, before = answer_the_first_only, len(node.requests)

        assert np.array_equal(await table.fetch(range(len(ROWS))), ROWS)

        assert len(asked) > 1
        assert len(node.requests) > before


async def test_a_worker_that_has_not_seen_a_new_version_is_asked_again_once_it_has_looked():
    def not_yet_seen_by(node):
        async def refuse_once(request, send):
            node.script = node.answer_rightly
            failure = lookup.Failure(code=5, message="not seen yet", reason="ERROR_REASON_VERSION_NOT_FOUND")
            await send(lookup.LookupStreamResponse(id=request.id, failure=failure))

        return refuse_once

    nodes = FakeNode(ROWS), FakeNode(ROWS)
    async with workers(*nodes) as url, engram_client.connect(url) as store:
        table = await store.table("t")
        await fetch_until_all_answer(table, nodes)
        for node in nodes:
            node.requests.clear()
            node.script = not_yet_seen_by(node)

        for rows in await asyncio.gather(table.fetch([3]), table.fetch([3])):
            assert np.array_equal(rows, ROWS[[3]])

        assert [len(node.requests) for node in nodes] == [2, 2]


async def test_a_worker_that_never_answers_keeps_no_other_from_being_asked():
    async def break_off(_request, _send):
        broken.append(1)
        raise BreakStream

    one, other, hanging, broken = FakeNode(ROWS), FakeNode(ROWS), FakeNode(ROWS), []
    hanging.may_list.clear()
    async with workers(one, other, hanging) as url, engram_client.connect(url) as store:
        table = await store.table("t")
        await fetch_until(table, lambda: other.requests and hanging.listed)
        other.script = break_off
        await fetch_until(table, lambda: broken)

        other.script = other.answer_rightly
        before = len(other.requests)
        await fetch_until(table, lambda: len(other.requests) > before)

        assert hanging.listed == 1


async def test_a_worker_that_does_not_answer_at_first_is_asked_again():
    node, late = FakeNode(ROWS), FakeNode(ROWS)
    async with workers(node, late) as url, engram_client.connect(url) as store:
        workers_of_the_node = late.workers
        name_workers((late,), workers_of_the_node.listen, node="not there yet")
        table = await store.table("t")
        await fetch_until(table, lambda: len(node.requests) > 100)
        assert not late.requests

        late.workers = workers_of_the_node

        await fetch_until(table, lambda: late.requests)


async def test_what_a_worker_does_not_know_is_decided_at_the_address_of_the_url():
    async def refuse(request, send):
        failure = lookup.Failure(code=5, message="never heard of it", reason="ERROR_REASON_TABLE_NOT_FOUND")
        await send(lookup.LookupStreamResponse(id=request.id, failure=failure))

    node, confused = FakeNode(ROWS), FakeNode(ROWS, refuse)
    async with workers(node, confused) as url, engram_client.connect(url) as store:
        table = await store.table("t")

        await fetch_until(table, lambda: confused.requests)
        assert node.requests


async def test_a_node_that_comes_back_with_other_workers_is_followed():
    node, former, newcomer = FakeNode(ROWS), FakeNode(ROWS), FakeNode(ROWS)
    async with workers(node, former) as url, newcomer.listening() as another, engram_client.connect(url) as store:
        table = await store.table("t")
        await fetch_until(table, lambda: former.requests)
        name_workers((node, newcomer), [port_of(url), port_of(another)], node="restarted")

        await table.refresh()
        before = len(former.requests)
        await fetch_until(table, lambda: newcomer.requests)

        assert len(former.requests) == before


async def test_what_a_node_said_last_of_its_stop_counts():
    node = FakeNode(ROWS)
    async with node.listening() as url, transport_to(url) as transport:
        out = np.empty((1, ROWS.shape[1]), np.uint8)
        [table] = await transport.list_tables(PATIENCE_SECONDS)

        async def heard(draining, way):
            node.draining = draining
            await way()
            return transport.draining

        async def fetch():
            await transport.fetch(table, np.array([3]), out, PATIENCE_SECONDS)

        async def describe():
            await transport.get_table("t", "", PATIENCE_SECONDS)

        async def list_all():
            await transport.list_tables(PATIENCE_SECONDS)

        for way in (fetch, describe, list_all):
            assert await heard(True, way)
            assert not await heard(False, way)
        assert np.array_equal(out, ROWS[[3]])


async def test_a_worker_that_is_about_to_stop_gets_nothing_more_while_another_serves_and_is_used_again_afterwards():
    one, other = FakeNode(ROWS), FakeNode(ROWS)
    async with workers(one, other) as url, engram_client.connect(url) as store:
        table = await store.table("t")
        await fetch_until(table, lambda: one.requests and other.requests)

        other.draining = True
        listed = other.listed
        await fetch_until(table, lambda: other.listed > listed)  # it was heard, and is asked whether it is back
        before = len(other.requests)
        for _ in range(50):
            await asyncio.gather(table.fetch([1, 2]), table.fetch([1, 2]))
        assert len(other.requests) == before

        other.draining = False
        await fetch_until(table, lambda: len(other.requests) > before)


async def test_a_node_is_about_to_stop_when_all_of_its_workers_are():
    one, other = FakeNode(ROWS), FakeNode(ROWS)
    async with workers(one, other) as url, transport_to(url) as transport:
        out = np.empty((1, ROWS.shape[1]), np.uint8)
        [table] = await transport.list_tables(PATIENCE_SECONDS)

        async def fetch_until_node(condition):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    two_at_a_time = (transport.fetch(table, np.array([3]), out, PATIENCE_SECONDS) for _ in range(2))
                    await asyncio.gather(*two_at_a_time)

        await fetch_until_node(lambda: one.requests and other.requests)
        one.draining = True
        listed = one.listed
        await fetch_until_node(lambda: one.listed > listed)  # it was heard, and is asked whether it is back
        assert not transport.draining

        other.draining = True
        await fetch_until_node(lambda: transport.draining)


async def test_closing_ends_what_workers_have_under_way():
    nodes = HeldNode(), HeldNode()
    async with workers(*nodes) as url:
        store = engram_client.connect(url)
        table = await store.table("t")
        await fetch_until_all_answer(table, nodes)
        pending = [table.prefetch([7]) for _ in range(4)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all(node.held for node in nodes):
                await table.fetch([1])

        await store.close()

        for rows in pending:
            with pytest.raises(errors.StoreClosed):
                await rows
        with pytest.raises(errors.StoreClosed):
            await table.fetch([1])
        for node in nodes:
            node.may_answer.set()


async def test_a_large_fetch_that_is_cancelled_while_its_parts_fail_ends_as_cancelled():
    nodes = HoldsLargeLookups(), HoldsLargeLookups()
    async with workers(*nodes) as url:
        for turns_later in range(30):
            transport = NodeTransport(url.removeprefix("grpc://"), retries=False)
            fetching = await fetch_of_both(transport, nodes)
            closing = asyncio.create_task(transport.close())  # which lets all parts fail
            for _ in range(turns_later):
                await asyncio.sleep(0)
            was_cancelled = fetching.cancel()
            await asyncio.wait((fetching, closing), timeout=PATIENCE_SECONDS)

            assert fetching.cancelled() == was_cancelled
            assert was_cancelled or isinstance(fetching.exception(), errors.StoreClosed)


async def fetch_of_both(transport, nodes):
    """Begin a fetch of which each of two workers has a part, once both are known to answer."""
    table = await transport.get_table("t", "", PATIENCE_SECONDS)
    few, all_rows = np.arange(2), np.arange(len(ROWS))
    before = [len(node.requests) for node in nodes]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(len(node.requests) == asked for node, asked in zip(nodes, before, strict=True)):
            buffers = [np.empty((2, ROWS.shape[1]), np.uint8) for _ in nodes]
            await asyncio.gather(*(transport.fetch(table, few, out, PATIENCE_SECONDS) for out in buffers))
        out = np.empty(ROWS.shape, np.uint8)
        fetching = asyncio.create_task(transport.fetch(table, all_rows, out, PATIENCE_SECONDS))
        held = [node.held for node in nodes]
        while any(node.held == count for node, count in zip(nodes, held, strict=True)):
            await asyncio.sleep(0)
    return fetching


class HoldsLargeLookups(FakeNode):
    """Answers lookups of more than a few rows never."""

    def __init__(self):
        super().__init__(ROWS, self.answer_small_ones, max_rows_per_lookup=100_000)
        self.held = 0

    async def answer_small_ones(self, request, send):
        if len(request.rows) > 10:
            self.held += 1
        else:
            await self.answer_rightly(request, send)


async def test_closing_ends_the_search_for_workers_that_do_not_answer():
    node = FakeNode(ROWS)
    async with workers(node) as url:
        name_workers((node,), free_ports(2))
        store = engram_client.connect(url)
        node.may_list.clear()
        await store.table("t")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while node.listed == 0:  # asked whether it has other workers by now
                await asyncio.sleep(0)

            await store.close()

        assert node.listed == 1
        node.may_list.set()


@pytest.mark.parametrize(
    ("address", "listen", "expected"),
    [
        ("host:50051", "50052", "host:50052"),
        ("[fe80::1%25eth0]:50051", "50052", "[fe80::1%25eth0]:50052"),
        ("host:50051", "node.sock.1", None),
        ("host:50051", "0", None),
        ("host:50051", "70000", None),
        ("unix:/run/a%20b/node.sock", "node.sock.1", "unix:/run/a%20b/node.sock.1"),
        ("unix:/run/node.sock", "a b", "unix:/run/a%20b"),
        ("unix:/run/node.sock", "../other", None),
        ("unix:/run/node.sock", "..", None),
    ],
)
def test_a_worker_is_beside_the_one_that_was_asked(address, listen, expected):
    assert worker_address(address, listen) == expected

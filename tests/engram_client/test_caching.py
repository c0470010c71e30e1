"""A cache never changes a result: whatever is cancelled or published meanwhile, rows are those of plain NumPy."""

import asyncio
import contextlib
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.array_transport import ArrayTransport
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table
from support.threads import in_thread

import engram_client
from engram_client import errors
from engram_client.caching import LEAST_CACHE_BYTES, CachingTransport
from engram_client.deduplicator import Deduplicator
from engram_client.store import Store

ROWS = random_rows(2000, 24)


def cached(cache_bytes=LEAST_CACHE_BYTES, **of_the_fake):
    transport = ArrayTransport(**of_the_fake)
    cache = CachingTransport(transport, cache_bytes)
    return transport, cache, Store(Deduplicator(cache), 5.0, cache)


async def test_rows_that_are_held_are_not_asked_for_again():
    transport, cache, store = cached()
    transport.publish("t", ROWS)
    table = await store.table("t")
    ids = np.random.default_rng(0).permutation(1000)

    await table.fetch(ids)
    await table.fetch(ids[:500])
    fetched = await table.fetch(np.arange(1500))

    assert np.array_equal(fetched, ROWS[:1500])
    assert transport.rows_sent < 1600  # of 3,000; a few may share a crowded set
    assert store.cache["t"].looked_up == 3000
    assert store.cache["t"].hits == 3000 - transport.rows_sent
    assert store.cache["t"].hit_rate == pytest.approx(1 - transport.rows_sent / 3000)
    assert cache.nbytes <= LEAST_CACHE_BYTES


async def test_what_the_cache_did_is_readable_where_it_is_printed():
    transport, _, store = cached()
    transport.publish("t", ROWS)
    table = await store.table("t")

    await table.fetch(np.arange(4))
    await table.fetch(np.arange(4))

    assert str(store.cache) == "{'t': CacheUse(looked_up=8, hits=4, hit_rate=0.500, stands_aside=False)}"


@pytest.mark.parametrize("num_rows", [1, 100])  # too few in all for the cache to be judged
async def test_a_caller_whose_rows_are_all_held_leaves_the_loop_to_others_now_and_then(num_rows):
    transport, _, store = cached()
    transport.publish("t", ROWS)
    table = await store.table("t")
    await table.fetch(np.arange(num_rows))

    async def fetch_often():
        async with asyncio.timeout(0):
            for _ in range(200):
                await table.fetch(np.arange(num_rows))

    with pytest.raises(TimeoutError):
        await fetch_often()

    assert transport.rows_sent == num_rows


async def test_a_handle_that_moves_to_a_new_version_never_reads_an_old_row():
    transport, _, store = cached()
    old, new = ROWS, random_rows(2000, 24, seed=1)
    transport.publish("t", old)
    table, kept = await store.table("t"), await store.table("t")
    ids = np.arange(2000)
    assert np.array_equal(await table.fetch(ids), old)

    transport.publish("t", new)
    await table.refresh()

    for _ in range(2):
        assert np.array_equal(await table.fetch(ids), new)
        assert np.array_equal(await kept.fetch(ids), old)


async def test_a_thousand_versions_later_rows_are_still_those_of_their_version():
    transport, _, store = cached()
    transport.publish("t", ROWS)
    first = await store.table("t")
    table = await store.table("t")
    ids = np.arange(20)
    for version in range(1, 1100):
        transport.publish("t", ROWS ^ np.uint8(version % 256))
        await table.refresh()
        await table.fetch(ids)

    assert np.array_equal(await first.fetch(ids), ROWS[:20])
    assert np.array_equal(await table.fetch(ids), ROWS[:20] ^ np.uint8(1099 % 256))


async def test_tables_and_widths_do_not_meet():
    transport, cache, store = cached()
    tables = {f"t{number}": random_rows(300, width, seed=number) for number, width in enumerate((24, 24, 8, 500))}
    for name, rows in tables.items():
        transport.publish(name, rows)
    ids = np.arange(300)
    for _ in range(3):
        for name, rows in tables.items():
            assert np.array_equal(await (await store.table(name)).fetch(ids), rows)
            assert cache.nbytes <= LEAST_CACHE_BYTES

    assert all(use.hits > 0 for use in store.cache.values())


async def test_rows_too_wide_for_the_cache_go_past_it():
    transport, cache, store = cached()
    rows = random_rows(3, 1 << 18)
    transport.publish("wide", rows)
    table = await store.table("wide")

    assert np.array_equal(await table.fetch([2, 1]), rows[[2, 1]])
    assert cache.nbytes == 0


async def test_a_buffer_that_is_filled_by_two_prefetches_at_once_spoils_nothing_that_is_kept():
    gate = asyncio.Event()
    transport, _, store = cached(before_reply=gate.wait)
    transport.publish("t", ROWS)
    table = await store.table("t")
    buffer = np.zeros((100, 24), np.uint8)
    discarded = [table.prefetch(np.arange(first, first + 100), out=buffer) for first in (0, 1000)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*discarded)
    buffer[:] = 255

    assert np.array_equal(await table.fetch(np.arange(100)), ROWS[:100])
    assert np.array_equal(await table.fetch(np.arange(1000, 1100)), ROWS[1000:1100])


class Client:
    """Three tables behind one cache, and prefetches of them that are under way."""

    def __init__(self, seed):
        self.chosen = np.random.default_rng(seed)
        self.transport, _, self.store = cached(before_reply=self.some_turns_later)
        self.contents = [random_rows(31, width, seed=number) for number, width in enumerate((24, 24, 8))]
        self.under_way = []

    async def open(self):
        for number, rows in enumerate(self.contents):
            self.transport.publish(f"t{number}", rows)
        self.tables = [await self.store.table(f"t{number}") for number in range(3)]

    async def some_turns_later(self):
        await self.turns(self.chosen.integers(0, 5))

    async def turns(self, number):
        for _ in range(number):
            await asyncio.sleep(0)

    async def prefetch(self, number, ids):
        out = np.zeros((len(ids), self.contents[number].shape[1]), np.uint8)
        self.under_way.append((self.tables[number].prefetch(ids, out=out), self.contents[number][ids], out))

    async def cancel(self, number):
        if number < len(self.under_way):
            pending, _, out = self.under_way.pop(number)
            pending.cancel()
            out[:] = 255  # the buffer is the caller's again

    async def publish(self, number):
        rows = random_rows(31, self.contents[number].shape[1], seed=int(self.chosen.integers(1 << 30)))
        self.contents[number] = rows
        self.transport.publish(f"t{number}", rows)
        await self.tables[number].refresh()


STEPS = st.one_of(
    st.tuples(st.just(Client.prefetch), st.integers(0, 2), st.lists(st.integers(0, 30), min_size=1, max_size=20)),
    st.tuples(st.just(Client.cancel), st.integers(0, 9)),
    st.tuples(st.just(Client.publish), st.integers(0, 2)),
    st.tuples(st.just(Client.turns), st.integers(0, 6)),
)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=40), seed=st.integers(0, 1 << 30))
async def test_prefetches_that_cross_each_other_and_are_cancelled_give_plain_numpys_rows(steps, seed):
    client = Client(seed)
    await client.open()
    for step, *arguments in steps:
        await step(client, *arguments)

    for pending, expected, out in client.under_way:
        assert np.array_equal(await pending, expected)
        assert np.array_equal(out, expected)
    for table, rows in zip(client.tables, client.contents, strict=True):
        for _ in range(2):
            assert np.array_equal(await table.fetch(np.arange(31)), rows)


async def test_it_stands_aside_when_nothing_comes_back_and_the_rows_are_the_same():
    transport, _, store = cached()
    rows = np.arange(700_000, dtype=np.int64)[:, None].view(np.uint8)
    transport.publish("t", rows)
    table = await store.table("t")
    for first in range(0, 700_000, 50_000):
        ids = np.arange(first, first + 50_000)
        assert np.array_equal(await table.fetch(ids), rows[ids])

    assert store.cache["t"].stands_aside
    assert store.cache["t"].looked_up < 600_000
    assert np.array_equal(await table.fetch(np.arange(50_000)), rows[:50_000])


async def test_a_fetch_that_fails_leaves_nothing_behind():
    gone = True

    async def fail():
        if gone:
            raise errors.Unavailable("gone")

    transport, _, store = cached(before_reply=fail)
    transport.publish("t", ROWS)
    table = await store.table("t")
    with pytest.raises(errors.Unavailable):
        await table.fetch([1, 2, 3])
    gone = False

    assert np.array_equal(await table.fetch([1, 2, 3]), ROWS[[1, 2, 3]])


async def test_a_closed_store_says_so_even_for_rows_that_it_held():
    transport, cache, store = cached()
    transport.publish("t", ROWS)
    table = await store.table("t")
    await table.fetch([1])

    await store.close()

    with pytest.raises(errors.StoreClosed):
        await table.fetch([1])
    assert cache.nbytes == 0


async def test_a_fetch_that_ends_after_the_store_was_closed_brings_no_cache_back():
    gate = asyncio.Event()
    transport, cache, store = cached(before_reply=gate.wait)
    transport.publish("t", ROWS)
    pending = (await store.table("t")).prefetch([1])
    await asyncio.sleep(0)

    await store.close()
    gate.set()
    await pending

    assert cache.nbytes == 0


async def test_another_event_loop_goes_past_the_cache():
    transport, _, store = cached()
    transport.publish("t", ROWS)
    table = await store.table("t")
    await table.fetch([1])

    @contextlib.asynccontextmanager
    async def fetched_elsewhere():
        yield await table.fetch([1])

    def fetch_elsewhere():
        with in_thread(fetched_elsewhere()) as rows:
            return rows

    assert np.array_equal(await asyncio.to_thread(fetch_elsewhere), ROWS[[1]])
    assert store.cache["t"].looked_up == 1
    assert transport.rows_sent == 2


@pytest.mark.parametrize("cache_bytes", [float("nan"), 1e9, "1MiB"])
def test_a_cache_of_no_whole_number_of_bytes_is_refused(cache_bytes):
    with pytest.raises(
        TypeError, match=f"cache_bytes must be an integer, a number of bytes, got {re.escape(repr(cache_bytes))}"
    ):
        engram_client.connect("grpc://127.0.0.1:1", cache_bytes=cache_bytes)


@pytest.mark.parametrize("cache_bytes", [0, -1, LEAST_CACHE_BYTES - 1])
def test_a_cache_too_small_to_be_of_use_is_refused(cache_bytes):
    with pytest.raises(ValueError, match=f"at least {LEAST_CACHE_BYTES}, got {cache_bytes}"):
        engram_client.connect("grpc://127.0.0.1:1", cache_bytes=cache_bytes)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("caching") / "root"
    write_table(root, "t", ROWS)
    return root


def test_many_threads_share_a_cache_through_the_blocking_face(root):
    with node_process(root) as node, engram_client.connect_blocking(node.url, cache_bytes=1 << 20) as store:
        table = store.table("t")

        def fetch_some(seed):
            chosen = np.random.default_rng(seed)
            for _ in range(30):
                ids = chosen.integers(0, chosen.integers(10, 2000), (3, 100))
                dropped = table.prefetch(chosen.integers(0, 2000, 500))
                if not np.array_equal(table.fetch(ids), ROWS[ids]):
                    return False
                dropped.cancel()
            return True

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(fetch_some, range(8)))
        assert 0 < store.cache["t"].hit_rate < 1


def test_a_refresh_in_another_thread_never_brings_rows_of_the_version_before(tmp_path):
    contents = [random_rows(200, 24, seed=number) for number in range(6)]
    write_table(tmp_path / "root", "t", contents[0])
    ids = np.arange(200)
    with (
        engram_client.connect_blocking(f"file://{tmp_path}/root", cache_bytes=1 << 20) as store,
        ThreadPoolExecutor() as threads,
    ):
        table, versions = store.table("t"), {}
        versions[table.version] = contents[0]

        def switch():
            for rows in contents[1:]:
                versions[write_table(tmp_path / "root", "t", rows)] = rows
                table.refresh()

        switching = threads.submit(switch)
        while not switching.done():
            before = table.version
            fetched = table.fetch(ids)
            if before == table.version:
                assert np.array_equal(fetched, versions[before])
        switching.result()
        assert np.array_equal(table.fetch(ids), contents[-1])
        assert store.cache["t"].hits > 0

"""What a store says that it has done, beside what it was asked."""

import subprocess
import sys

import numpy as np
import pytest
from prometheus_client import generate_latest
from support.array_transport import ArrayTransport
from support.rows import random_rows
from support.scraping import Scrape

from engram_client.caching import CachingTransport
from engram_client.errors import Overloaded, RowOutOfRange, Unavailable
from engram_client.prometheus import StoreCollector
from engram_client.store import Store

ROWS = random_rows(1000, 64)


def shown(store):
    return Scrape.of(generate_latest(StoreCollector(store)).decode())


async def fails():
    raise Unavailable("gone")


async def test_fetches_and_rows_are_counted_and_each_is_in_one_bucket():
    transport = ArrayTransport()
    transport.publish("t", ROWS)
    store = Store(transport, 5.0, hedges=lambda: 3)
    table = await store.table("t")
    for number in range(1, 11):
        assert np.array_equal(await table.fetch(np.arange(number)), ROWS[:number])
    with pytest.raises(RowOutOfRange):
        await table.fetch([1000])  # which is no fetch: nothing was asked for

    found = shown(store)

    assert found.total("engram_client_fetches_total") == 10
    assert found.total("engram_client_rows_total") == 55
    assert found.total("engram_client_fetch_seconds_count") == 10
    assert found.total("engram_client_fetch_seconds_bucket", le="+Inf") == 10
    assert found.total("engram_client_fetch_seconds_sum") > 0
    assert found.total("engram_client_hedges_total") == 3
    assert found.total("engram_client_retries_total") == 0
    assert found.total("engram_client_fetch_failures_total") == 0


async def test_a_fetch_that_fails_is_no_fetch_with_rows():
    transport = ArrayTransport(fails)
    transport.publish("t", ROWS)
    store = Store(transport, 5.0)
    table = await store.table("t")

    with pytest.raises(Unavailable):
        await table.fetch([1, 2])

    found = shown(store)
    assert found.total("engram_client_fetch_failures_total") == 1
    assert found.total("engram_client_fetches_total") == 0
    assert found.total("engram_client_rows_total") == 0


async def test_requests_that_were_sent_again_are_shown_with_refusals_apart():
    store = Store(ArrayTransport(), 5.0)
    store.retries.count(Unavailable("gone"), 3)
    store.retries.count(Overloaded("busy", 0.1))

    found = shown(store)

    assert found.total("engram_client_retries_total", reason="failed") == 3
    assert found.total("engram_client_retries_total", reason="refused") == 1


async def test_hits_and_misses_of_the_row_cache_are_shown_by_table():
    transport = ArrayTransport()
    transport.publish("t", ROWS)
    cache = CachingTransport(transport, 1 << 20)
    store = Store(cache, 5.0, cache)
    table = await store.table("t")
    await table.fetch([1, 2, 3])
    await table.fetch([1, 2, 4])

    found = shown(store)

    assert found.total("engram_client_cache_hits_total", table="t") == store.cache["t"].hits == 2
    assert found.total("engram_client_cache_misses_total", table="t") == 4


def test_a_client_without_prometheus_client_says_which_extra_brings_it():
    program = (
        "import sys; sys.modules['prometheus_client'] = None\nimport engram_client\nimport engram_client.prometheus"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.stderr.splitlines()[-1].startswith("ImportError: engram_client.prometheus needs prometheus-client")

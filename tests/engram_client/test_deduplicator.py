"""Each row once over the wire, and the same answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.array_transport import ArrayTransport
from support.rows import random_rows

from engram_client.deduplicator import Deduplicator
from engram_client.errors import StoreClosed, Unavailable

ROWS = random_rows(1000, 24)


def deduplicated(**settings_of_the_fake):
    transport = ArrayTransport(**settings_of_the_fake)
    return transport, transport.publish("t", ROWS), Deduplicator(transport)


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 999) | st.integers(0, 5), min_size=1, max_size=60), max_size=10))
async def test_any_ids_give_the_rows_that_numpy_gives_and_each_is_sent_once(batches):
    transport, info, deduplicator = deduplicated()
    for ids in batches:
        rows = np.array(ids)
        out = np.zeros((len(rows), 24), np.uint8)

        await deduplicator.fetch(info, rows, out, 1.0)

        assert np.array_equal(out, ROWS[rows])
        assert np.array_equal(np.sort(transport.sent[-1]), np.unique(rows))


async def test_ids_that_are_all_different_go_straight_into_the_callers_buffer_in_their_order():
    transport, info, deduplicator = deduplicated()
    rows = np.random.default_rng(0).permutation(1000)
    out = np.zeros((1000, 24), np.uint8)

    await deduplicator.fetch(info, rows, out, 1.0)

    assert np.array_equal(out, ROWS[rows])
    assert np.array_equal(transport.sent[0], rows)


async def test_it_stands_aside_when_nothing_repeats_and_the_rows_are_the_same():
    transport, info, deduplicator = deduplicated()
    out = np.zeros((1000, 24), np.uint8)
    for _ in range(100):  # a window and a half of rows that never repeat
        await deduplicator.fetch(info, np.arange(1000), out, 1.0)
    repeating = np.repeat(np.arange(500), 2)

    await deduplicator.fetch(info, repeating, out, 1.0)

    assert np.array_equal(transport.sent[-1], repeating)
    assert np.array_equal(out, ROWS[repeating])


async def test_a_table_without_repeats_does_not_keep_it_from_another():
    transport, info, deduplicator = deduplicated()
    other = transport.publish("other", ROWS)
    for _ in range(100):  # a window and a half of rows that never repeat
        await deduplicator.fetch(info, np.arange(1000), np.zeros((1000, 24), np.uint8), 1.0)

    await deduplicator.fetch(other, np.repeat(np.arange(500), 2), np.zeros((1000, 24), np.uint8), 1.0)

    assert np.array_equal(transport.sent[-1], np.arange(500))


async def test_a_failure_below_is_the_callers():
    async def fail():
        raise Unavailable("gone")

    _, info, deduplicator = deduplicated(before_reply=fail)

    with pytest.raises(Unavailable):
        await deduplicator.fetch(info, np.array([1, 1]), np.zeros((2, 24), np.uint8), 1.0)


async def test_the_other_calls_are_passed_on():
    _, info, deduplicator = deduplicated()

    assert await deduplicator.list_tables(1.0) == [info]
    assert await deduplicator.get_table("t", "", 1.0) == info
    await deduplicator.close()
    with pytest.raises(StoreClosed):
        await deduplicator.fetch(info, np.array([1]), np.zeros((1, 24), np.uint8), 1.0)

"""A staging buffer is lent again only when nothing writes into it or reads it any more."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from engram_client.errors import RowOutOfRange
from engram_model import Prefetcher, PrefetchSettings, RingFull
from engram_model.prefetch.ring import StagingRing

WAIT_SECONDS = 60.0


def test_slots_are_lent_in_turn():
    ring = StagingRing(2, 16, 0.01, pinned=False)

    lent = []
    for _ in range(4):
        slot = ring.lend()
        lent.append(slot.index)
        ring.give_back(slot, is_quiet=lambda: True)

    assert lent == [0, 1, 0, 1]


def test_a_slot_rests_until_nothing_uses_it():
    ring = StagingRing(1, 16, 0.01, pinned=False)
    slot, uses = ring.lend(), [1]
    ring.give_back(slot, is_quiet=lambda: not uses)

    with pytest.raises(RingFull, match="0 hold rows that no layer has taken yet, 1 are still written or read"):
        ring.lend()
    uses.clear()

    assert ring.lend() is slot


def test_a_call_waits_for_a_slot_that_another_thread_gives_back():
    ring = StagingRing(1, 16, WAIT_SECONDS, pinned=False)
    slot = ring.lend()
    lent = []
    waiter = threading.Thread(target=lambda: lent.append(ring.lend()))
    waiter.start()

    ring.give_back(slot, is_quiet=lambda: True)
    waiter.join(WAIT_SECONDS)

    assert lent == [slot]


def test_a_slot_that_comes_to_rest_while_somebody_waits_is_lent():
    ring = StagingRing(1, 16, WAIT_SECONDS, pinned=False)
    looks = iter([False, False, False, True])
    ring.give_back(ring.lend(), is_quiet=lambda: next(looks))

    assert ring.lend().index == 0
    assert ring.stats().waits == 1


def test_a_full_ring_says_what_to_raise(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    settings = PrefetchSettings(num_slots=3, slot_wait_seconds=0.01)
    prefetcher = Prefetcher(remote.modules.values(), settings=settings)
    first = prefetcher.prefetch(input_ids)

    with pytest.raises(RingFull, match=r"none of 3 staging buffers came free within 0\.01 s: 3 hold .*raise num_slots"):
        prefetcher.prefetch(input_ids)
    first.discard()

    assert len(prefetcher.prefetch(input_ids)) == 2
    assert prefetcher.stats().ring.waits == 1


def test_fewer_buffers_than_a_call_needs_are_refused(config, make_remote):
    remote = make_remote(config)

    with pytest.raises(ValueError, match="num_slots must be at least 2, the layers whose tables are in a store, .* 1"):
        Prefetcher(remote.modules.values(), settings=PrefetchSettings(num_slots=1))
    Prefetcher([remote.local[0], remote.modules[2]], settings=PrefetchSettings(num_slots=1))


def test_a_fetch_that_does_not_end_when_told_keeps_its_slot(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    settings = PrefetchSettings(num_slots=2, slot_wait_seconds=0.01)
    prefetcher = Prefetcher(remote.modules.values(), settings=settings)
    stubborn = remote.tables[0]
    stubborn.cancels_late = True

    prefetcher.prefetch(input_ids).discard()
    stubborn.cancels_late = False
    with pytest.raises(RingFull, match="1 are still written or read after they were given back"):
        prefetcher.prefetch(input_ids)
    stubborn.fetches[0].out[...] = 255  # it may still write
    stubborn.fetches[0].end()
    pending = prefetcher.prefetch(input_ids)

    for table in remote.tables.values():
        table.last.release()
    assert torch.equal(pending[0].wait(), remote.local[0].prefetch_embeddings(input_ids).wait())


def test_a_fetch_that_is_given_up_without_an_end_keeps_its_slot(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    settings = PrefetchSettings(num_slots=2, slot_wait_seconds=0.01, late="zero")
    prefetcher = Prefetcher(remote.modules.values(), settings=settings)
    remote.tables[0].cancels_late = True
    pending = prefetcher.prefetch(input_ids)

    with pytest.raises(TimeoutError):
        pending[0].wait()
    pending.discard()

    assert prefetcher.stats().ring.in_use == 1
    remote.tables[0].fetches[0].end()
    assert prefetcher.stats().ring.in_use == 0


@pytest.mark.parametrize("layer", [0, 2])
def test_an_interrupt_while_a_call_is_discarded_loses_no_buffer(config, make_remote, input_ids, layer):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values())
    pending = prefetcher.prefetch(input_ids)
    remote.tables[layer].interrupted = True

    with pytest.raises(KeyboardInterrupt):
        pending.discard()

    assert remote.tables[2 - layer].last.cancelled
    assert prefetcher.stats().ring.in_use == 1  # it may still be written to
    remote.tables[layer].last.release()
    assert prefetcher.stats().ring.in_use == 0


def test_an_interrupt_while_a_call_that_failed_is_ended_loses_no_buffer(config, make_remote, input_ids):
    remote = make_remote(replace(config, layer_ids=(0, 1, 2)), held=True)
    prefetcher = Prefetcher(remote.modules.values())

    class Refuses(type(remote.tables[2])):
        def prefetch(self, _ids, **_):
            raise RowOutOfRange("no such row")

    remote.tables[2].__class__ = Refuses
    for interrupted, other in [(0, 1), (1, 0)]:
        remote.tables[interrupted].interrupted = True

        with pytest.raises(KeyboardInterrupt) as interrupt:
            prefetcher.prefetch(input_ids)

        assert isinstance(interrupt.value.__context__, RowOutOfRange)
        assert remote.tables[other].last.cancelled
        remote.tables[interrupted].last.release()
        assert prefetcher.stats().ring.in_use == 0


def test_buffers_are_as_large_as_the_most_that_a_call_may_ask_for(config, make_remote):
    remote = make_remote(config)
    prefetcher = Prefetcher(remote.modules.values(), settings=PrefetchSettings(max_tokens=22, deduplicate="never"))

    assert prefetcher.stats().ring.slot_bytes == 22 * 4 * 16
    prefetcher.prefetch(torch.zeros(2, 11, dtype=torch.int64))
    assert np.prod(remote.tables[0].last.out.shape) == 22 * 4 * 16

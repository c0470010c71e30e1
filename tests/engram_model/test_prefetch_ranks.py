"""Ranks that own some of the hash's columns, alone or with one fetch for all of them."""

from __future__ import annotations

import threading

import pytest
import torch

from engram_client.errors import Unavailable
from engram_model import EngramState, Prefetcher, PrefetchSettings, RowsLate

WAIT_SECONDS = 60.0
SHARES = {"halves": [(0, 1), (2, 3)], "uneven": [(0, 1, 3), (2,)], "copies": [None, None], "overlap": [(0, 1), (1, 2)]}


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def make_ranks(config, make_remote):
    """Two ranks over the same tables."""

    def make(columns=SHARES["halves"], held=False, **settings):
        remote = make_remote(config, held=held)
        ranks = [list(remote.modules.values()) for _ in columns]
        return remote, Prefetcher.for_ranks(ranks, columns=columns, settings=PrefetchSettings(**settings))

    return make


def columns_of(module, ids, columns, state=None):
    """The embeddings of some columns, cut from those of all."""
    whole = module.prefetch_embeddings(ids, state=state).wait().unflatten(-1, (4, 4))  # (B, T, columns, embedding_dim)
    return (whole if columns is None else whole[..., list(columns), :]).flatten(-2)


@pytest.mark.parametrize("columns", [(0,), (1, 3), (0, 1, 2, 3), range(2, 4)])
def test_a_rank_asks_for_its_own_columns_only(config, make_remote, input_ids, columns):
    remote = make_remote(config)
    prefetcher = Prefetcher(remote.modules.values(), columns=columns)

    pending = prefetcher.prefetch(input_ids)

    for layer, module in remote.local.items():
        assert remote.tables[layer].last.ids.shape == (2, 11, len(columns))
        assert torch.equal(pending[layer].wait(), columns_of(module, input_ids, columns))


@pytest.mark.parametrize("columns", SHARES.values(), ids=SHARES)
def test_one_fetch_serves_all_ranks(make_ranks, input_ids, columns):
    remote, prefetchers = make_ranks(columns)
    states = [{0: EngramState(), 2: EngramState()} for _ in prefetchers]
    own = [{0: EngramState(), 2: EngramState()} for _ in prefetchers]

    for piece in (slice(0, 4), slice(4, 11)):
        for rank, prefetcher in enumerate(prefetchers):
            pending = prefetcher.prefetch(input_ids[:, piece].clone(), states=states[rank])
            for layer, module in remote.local.items():
                expected = columns_of(module, input_ids[:, piece], columns[rank], own[rank][layer])
                assert torch.equal(pending[layer].wait(), expected)

    assert [len(table.fetches) for table in remote.tables.values()] == [2, 2]
    for prefetcher in prefetchers:
        stats = prefetcher.stats()
        assert (stats.layers[0].fetches, stats.layers[0].turns, stats.ring.in_use) == (2, 2, 0)


def test_ranks_may_ask_from_threads_of_their_own(make_ranks, input_ids):
    remote, prefetchers = make_ranks(held=False, num_slots=4)
    wrong = []

    def run(rank, prefetcher):
        for call in range(20):
            ids = input_ids.roll(call, dims=1)
            pending = prefetcher.prefetch(ids)
            for layer, module in remote.local.items():
                if not torch.equal(pending[layer].wait(), columns_of(module, ids, SHARES["halves"][rank])):
                    wrong.append((rank, call, layer))

    # Torch records gradients anew in each thread, so embeddings are the thread's own: both ways are the same here.
    threads = [threading.Thread(target=run, args=each) for each in enumerate(prefetchers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)

    assert wrong == []
    assert [len(table.fetches) for table in remote.tables.values()] == [20, 20]


def test_a_buffer_is_free_when_all_ranks_have_done_with_it(make_ranks, input_ids):
    remote, (one, other) = make_ranks(held=True)
    ours, theirs = one.prefetch(input_ids), other.prefetch(input_ids)

    ours.discard()
    assert not remote.tables[0].last.cancelled
    for table in remote.tables.values():
        table.last.release()
    assert one.stats().ring.in_use == 2
    expected = columns_of(remote.local[0], input_ids, SHARES["halves"][1])
    assert torch.equal(theirs[0].wait(), expected)
    assert one.stats().ring.in_use == 1
    theirs.discard()

    assert one.stats().ring.in_use == 0
    assert (one.stats().layers[0].discarded, other.stats().layers[0].discarded) == (1, 0)


def test_a_rank_that_waits_no_longer_takes_nothing_from_the_others(make_ranks, input_ids):
    remote, (one, other) = make_ranks(held=True)
    ours, theirs = one.prefetch(input_ids), other.prefetch(input_ids)

    with pytest.raises(TimeoutError):
        ours[0].wait(timeout=0.001)
    remote.tables[0].last.release()

    assert torch.equal(theirs[0].wait(), columns_of(remote.local[0], input_ids, SHARES["halves"][1]))


def test_a_failure_is_told_to_every_rank(make_ranks, input_ids):
    remote, prefetchers = make_ranks(held=True)
    pending = [prefetcher.prefetch(input_ids) for prefetcher in prefetchers]

    remote.tables[0].last.fail(Unavailable("no node"))

    for each in pending:
        with pytest.raises(Unavailable):
            each[0].wait()


@pytest.mark.parametrize("other", ["ids", "states", "mask"])
def test_ranks_that_ask_for_other_tokens_are_told(make_ranks, input_ids, other):
    _, (one, two) = make_ranks()
    past = {0: EngramState(), 2: EngramState()}
    one.prefetch(input_ids, states=past)
    two.prefetch(input_ids, states={0: EngramState(), 2: EngramState()})
    one.prefetch(input_ids, states=past)
    wrong = {
        "ids": {"input_ids": input_ids.flip(1)},
        "states": {"states": {0: EngramState(), 2: EngramState()}},
        "mask": {"mask": input_ids > 3},
    }[other]

    with pytest.raises(ValueError, match="rank 1 asks for other tokens in its call 1 than the rank before it"):
        two.prefetch(**{"input_ids": input_ids, **wrong})


def test_a_call_that_fails_is_made_again_by_whoever_asks_next(make_ranks, input_ids):
    remote, (one, other) = make_ranks(num_slots=3, slot_wait_seconds=0.01)
    for prefetcher in (one, other):
        prefetcher.prefetch(input_ids)  # and take none of it

    with pytest.raises(TimeoutError):
        one.prefetch(input_ids)

    assert one.stats().ring.in_use == 2
    with pytest.raises(TimeoutError):
        other.prefetch(input_ids)
    assert len(remote.tables[0].fetches) == 3


@pytest.mark.parametrize("columns", [(), (1, 0), (0, 0), (-1,), (4,), (0.5,)])
def test_columns_that_the_hash_does_not_have_are_refused(config, make_remote, columns):
    with pytest.raises(ValueError, match=r"columns must be ascending integers from 0 to 3, at least one, got \["):
        Prefetcher(make_remote(config).modules.values(), columns=columns)


def test_columns_of_a_table_in_its_module_are_refused(config, make_remote):
    with pytest.raises(ValueError, match=r"columns need tables in a store, the layers \[0, 2\] have their own"):
        Prefetcher(make_remote(config).local.values(), columns=(0,))


def test_ranks_of_other_hashes_are_refused(config, make_remote):
    remote = make_remote(config)
    other = make_remote(config).modules[0]

    with pytest.raises(ValueError, match="rank 1 has layers that hash as"):
        Prefetcher.for_ranks([remote.modules.values(), [other]], columns=SHARES["halves"])


def test_ranks_pass_their_inputs_through_together(make_ranks, input_ids):
    remote, (one, other) = make_ranks(held=True, late="zero")
    ours, theirs = one.prefetch(input_ids), other.prefetch(input_ids)

    with pytest.raises(RowsLate):
        ours[0].wait()
    for table in remote.tables.values():
        table.last.release()
    with pytest.raises(RowsLate):  # though they are there by now
        theirs[0].wait()

    for pending in (ours, theirs):
        pending[2].wait()
    assert [prefetcher.stats().layers[0].passed_through for prefetcher in (one, other)] == [1, 1]

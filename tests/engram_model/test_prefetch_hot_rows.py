"""Frequent rows held on the device: the same bits, fewer rows asked for, never a row of another version."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engram_client.errors import TimeLimitExceeded
from engram_model import EngramState, Prefetcher, PrefetchSettings
from engram_model.prefetch.hot_rows import HotRows, most_frequent, put_together
from engram_model.store_memory import FetchTerms

ROW_BYTES = 16


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def versioned(make_remote):
    """Layers whose tables tell a version, and a prefetcher for them."""

    def make(config, hot_rows=20, **settings):
        remote = make_remote(config)
        for table in remote.tables.values():
            table.version = "v1"
        settings = PrefetchSettings(hot_bytes=hot_rows * ROW_BYTES, **settings)
        return remote, Prefetcher(remote.modules.values(), settings=settings)

    return make


def repetitive_ids(batch=3, length=40):
    return torch.randint(0, 6, (batch, length))


@pytest.mark.parametrize("deduplicate", ["always", "never"])
def test_pieces_give_the_bits_of_layers_that_look_up_themselves(form, versioned, deduplicate):
    remote, prefetcher = versioned(form, deduplicate=deduplicate)
    held = prefetcher.hold_frequent_rows(repetitive_ids())
    input_ids, mask = repetitive_ids(), torch.rand(3, 40) < 0.8
    states, own = ({layer: EngramState() for layer in remote.modules} for _ in range(2))

    for piece in (slice(0, 30), slice(30, 31), slice(31, 31), slice(31, 40)):
        pending = prefetcher.prefetch(input_ids[:, piece], mask[:, piece], states=states)
        for layer, module in remote.local.items():
            expected = module.prefetch_embeddings(input_ids[:, piece], mask[:, piece], state=own[layer]).wait()
            assert torch.equal(pending[layer].wait(), expected)

    assert held == dict.fromkeys(remote.modules, 20)
    for stats in prefetcher.stats().layers.values():
        assert stats.held_rows > 0
        assert stats.bytes == stats.sent_rows * ROW_BYTES
        assert deduplicate == "always" or stats.held_rows + stats.sent_rows == stats.rows


def test_a_call_of_which_every_row_is_held_asks_for_none(config, versioned):
    remote, prefetcher = versioned(config, hot_rows=1000)
    input_ids = repetitive_ids().repeat(2, 1)
    prefetcher.hold_frequent_rows(input_ids)

    embeddings = prefetcher.prefetch(input_ids)[0].wait()

    assert torch.equal(embeddings, remote.local[0].prefetch_embeddings(input_ids).wait())
    # Two rows may share a place where they are looked for: the one that lost it is asked for.
    assert prefetcher.stats().layers[0].held_rows > 0.8 * prefetcher.stats().layers[0].rows


def test_rows_of_another_version_are_never_used(config, versioned):
    remote, prefetcher = versioned(config)
    input_ids = repetitive_ids()
    prefetcher.hold_frequent_rows(input_ids)
    for layer, table in remote.tables.items():
        table.rows, table.version = table.rows[::-1].copy(), "v2"
        remote.local[layer].memory.table.weight.copy_(remote.local[layer].memory.table.weight.flip(0))

    embeddings = prefetcher.prefetch(input_ids)[0].wait()

    assert torch.equal(embeddings, remote.local[0].prefetch_embeddings(input_ids).wait())
    assert prefetcher.stats().layers[0].held_rows == 0
    prefetcher.hold_frequent_rows(input_ids)
    again = prefetcher.prefetch(input_ids)[0].wait()
    assert torch.equal(again, remote.local[0].prefetch_embeddings(input_ids).wait())
    assert prefetcher.stats().layers[0].held_rows > 0


def test_a_table_that_moves_while_it_is_asked_gives_rows_of_one_version(config, versioned):
    remote, prefetcher = versioned(config)
    input_ids, table = repetitive_ids(), remote.tables[0]
    prefetcher.hold_frequent_rows(input_ids)

    class MovesOnce(type(table)):
        def prefetch(self, ids, *, out, timeout):
            if self.version == "v1":
                self.rows, self.version = self.rows[::-1].copy(), "v2"
            return super().prefetch(ids, out=out, timeout=timeout)

    table.__class__ = MovesOnce
    embeddings = prefetcher.prefetch(input_ids)[0].wait()

    rows = table.rows[remote.modules[0].row_ids(input_ids)].view(np.float32)
    assert np.array_equal(embeddings.numpy(), rows.reshape(embeddings.shape))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_layer_of_another_data_type_by_now_reads_the_same_rows(config, versioned, dtype):
    remote, prefetcher = versioned(config)
    input_ids = repetitive_ids()
    prefetcher.hold_frequent_rows(input_ids)
    remote.modules[2].to(dtype)
    remote.local[2].to(dtype)

    embeddings = prefetcher.prefetch(input_ids)[2].wait()

    assert torch.equal(embeddings, remote.local[2].prefetch_embeddings(input_ids).wait())
    assert prefetcher.stats().layers[2].held_rows > 0


def test_ranks_that_share_fetches_hold_the_same_rows(config, make_remote):
    remote = make_remote(config)
    for table in remote.tables.values():
        table.version = "v1"
    ranks, columns = [list(remote.modules.values())] * 2, [(0, 1, 3), (2,)]
    settings = PrefetchSettings(hot_bytes=20 * ROW_BYTES, deduplicate="always")
    prefetchers = Prefetcher.for_ranks(ranks, columns=columns, settings=settings)
    input_ids = repetitive_ids()
    prefetchers[1].hold_frequent_rows(input_ids)

    for owned, prefetcher in zip(columns, prefetchers, strict=True):
        whole = remote.local[0].prefetch_embeddings(input_ids).wait().unflatten(-1, (4, 4))
        assert torch.equal(prefetcher.prefetch(input_ids)[0].wait(), whole[..., list(owned), :].flatten(-2))
    assert prefetchers[0].stats().layers[0].held_rows > 0


def test_a_table_without_a_version_and_a_tier_without_room_are_refused(config, make_remote, versioned):
    remote = make_remote(config)
    without_version = Prefetcher(remote.modules.values(), settings=PrefetchSettings(hot_bytes=1000))
    _, without_room = versioned(config, hot_rows=0)

    with pytest.raises(ValueError, match="the table of layer 0 does not tell its version"):
        without_version.hold_frequent_rows(repetitive_ids())
    with pytest.raises(ValueError, match="hot_bytes must hold a row of layer 0, 16 bytes, got 0"):
        without_room.hold_frequent_rows(repetitive_ids())
    with pytest.raises(ValueError, match="hot_bytes must not be negative, got -1"):
        PrefetchSettings(hot_bytes=-1)


def test_rows_to_hold_are_fetched_as_many_at_a_time_as_a_call_may_ask_for(config, versioned):
    remote, prefetcher = versioned(config, max_tokens=2, timeout_seconds=3.5)

    held = prefetcher.hold_frequent_rows(repetitive_ids())

    for layer, table in remote.tables.items():
        assert [len(fetch.ids) for fetch in table.fetches] == [8, 8, 4]  # 2 tokens of 4 columns
        assert {fetch.timeout for fetch in table.fetches} == {3.5}
        assert held[layer] == 20


def test_rows_to_hold_that_do_not_come_say_which_setting_asked_for_them(config, versioned):
    remote, prefetcher = versioned(config)

    class Slow(type(remote.tables[0])):
        def prefetch(self, ids, *, out, timeout):
            self.held = True
            pending = super().prefetch(ids, out=out, timeout=timeout)
            pending.fail(TimeLimitExceeded("no answer within 10 s"))
            return pending

    remote.tables[0].__class__ = Slow

    with pytest.raises(
        TimeLimitExceeded, match=r"20 rows of layer 0 were to be held \(hot_bytes = 320\), .* no answer within 10 s"
    ):
        prefetcher.hold_frequent_rows(repetitive_ids())


def test_a_table_that_moves_while_rows_to_hold_are_fetched_gives_those_of_one_version(config, versioned):
    remote, prefetcher = versioned(config, max_tokens=2)
    table = remote.tables[0]

    class MovesInTheMiddle(type(table)):
        def prefetch(self, ids, *, out, timeout):
            if self.version == "v1" and len(self.fetches) == 1:
                self.rows, self.version = self.rows[::-1].copy(), "v2"
            return super().prefetch(ids, out=out, timeout=timeout)

    table.__class__ = MovesInTheMiddle
    prefetcher.hold_frequent_rows(repetitive_ids())
    input_ids = repetitive_ids(1, 2)
    embeddings = prefetcher.prefetch(input_ids)[0].wait()

    rows = table.rows[remote.modules[0].row_ids(input_ids)].view(np.float32)
    assert np.array_equal(embeddings.numpy(), rows.reshape(embeddings.shape))
    assert prefetcher.stats().layers[0].held_rows > 0


def test_a_sample_without_repeats_holds_nothing(config, versioned):
    _, prefetcher = versioned(config)

    assert prefetcher.hold_frequent_rows(torch.zeros(1, 0, dtype=torch.int64)) == {}
    embeddings = prefetcher.prefetch(repetitive_ids())[0].wait()

    assert embeddings.shape == (3, 40, 16)
    assert prefetcher.stats().layers[0].held_rows == 0


def test_the_most_frequent_rows_are_those_that_occur_most_often():
    rows = np.array([5, 7, 7, 9, 5, 7, 8, 3, 3])

    assert most_frequent(rows, 2).tolist() == [7, 3]
    assert sorted(most_frequent(rows, 9).tolist()) == [3, 5, 7]


@given(num_held=st.integers(1, 300), num_wanted=st.integers(0, 300), seed=st.integers(0, 1000))
def test_what_was_fetched_and_what_is_held_make_the_rows(num_held, num_wanted, seed):
    random = np.random.default_rng(seed)
    table = random.integers(0, 256, (500, 3), dtype=np.uint8)
    held = random.permutation(500)[:num_held]
    hot = HotRows(held, torch.from_numpy(table[held]), [torch.device("cpu")], FetchTerms(None, None))
    wanted = random.integers(0, 500, num_wanted)

    split = hot.split(wanted)

    on_device = hot.on(torch.device("cpu"))
    which, places = torch.from_numpy(split.held), torch.from_numpy(split.places)
    rows = put_together(torch.from_numpy(table[split.missing]), on_device, which, places)
    assert np.array_equal(rows.numpy(), table[wanted])
    assert len(split.missing) + len(split.held) == num_wanted

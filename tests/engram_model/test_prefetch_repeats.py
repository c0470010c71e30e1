"""Each n-gram of a call asked for once: the same bits, fewer rows, and only while it pays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engram_client.hashing import NgramHasher
from engram_model import EngramState, Prefetcher, PrefetchSettings
from engram_model.prefetch.repeats import Repeats

ALWAYS = PrefetchSettings(deduplicate="always")


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def repetitive_ids(batch=3, length=40):
    return torch.randint(0, 4, (batch, length))


@pytest.mark.parametrize("packed", [False, True])
def test_pieces_give_the_bits_of_layers_that_look_up_themselves(form, make_remote, packed):
    remote = make_remote(form)
    prefetcher = Prefetcher(remote.modules.values(), settings=ALWAYS)
    input_ids, mask = repetitive_ids(), torch.rand(3, 40) < 0.8
    documents = torch.arange(40).div(7, rounding_mode="floor").repeat(3, 1)  # the first are padding
    states, own = ({layer: EngramState() for layer in remote.modules} for _ in range(2))

    for piece in (slice(0, 30), slice(30, 31), slice(31, 31), slice(31, 40)):
        packing = {"sequence_ids": documents[:, piece]} if packed else {}
        pending = prefetcher.prefetch(input_ids[:, piece], mask[:, piece], states=states, **packing)
        for layer, module in remote.local.items():
            expected = module.prefetch_embeddings(
                input_ids[:, piece], mask[:, piece], state=own[layer], **packing
            ).wait()
            assert torch.equal(pending[layer].wait(), expected)
            assert torch.equal(states[layer].history.tokens, own[layer].history.tokens)


def test_each_ngram_is_asked_for_once(config, make_remote):
    remote = make_remote(config)
    prefetcher = Prefetcher(remote.modules.values(), settings=ALWAYS)
    input_ids = repetitive_ids()

    prefetcher.prefetch(input_ids)[0].wait()

    padded = np.concatenate([np.full((3, 2), config.pad_id), input_ids.numpy()], axis=1).tolist()
    ngrams = {tuple(of[end - n : end]) for of in padded for end in range(3, 43) for n in (2, 3)}
    stats = prefetcher.stats().layers[0]
    assert remote.tables[0].last.ids.shape == (len(ngrams), 2)
    assert (stats.rows, stats.sent_rows, stats.bytes) == (3 * 40 * 4, 2 * len(ngrams), 2 * len(ngrams) * 16)


@pytest.mark.parametrize("row_format", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("gradients", [False, True])
def test_embeddings_have_the_data_type_of_the_layer_by_now(config, make_remote, row_format, dtype, gradients):
    remote = make_remote(config, row_format=row_format)
    prefetcher = Prefetcher(remote.modules.values(), settings=ALWAYS)
    input_ids = repetitive_ids()

    pending = prefetcher.prefetch(input_ids)
    remote.modules[2].to(dtype)
    remote.local[2].to(dtype)

    with torch.set_grad_enabled(gradients):
        embeddings = pending[2].wait()
    assert embeddings.dtype == dtype
    assert torch.equal(embeddings, remote.local[2].prefetch_embeddings(input_ids).wait())


@pytest.mark.parametrize("columns", [[(0, 1), (2, 3)], [(0, 1, 3), (2,)], [None, None], [(1,), (0, 2, 3)]])
def test_ranks_that_share_a_fetch_unfold_their_own_columns(config, make_remote, columns):
    remote = make_remote(config)
    ranks = [list(remote.modules.values()) for _ in columns]
    prefetchers = Prefetcher.for_ranks(ranks, columns=columns, settings=ALWAYS)
    input_ids = repetitive_ids()

    for owned, prefetcher in zip(columns, prefetchers, strict=True):
        pending = prefetcher.prefetch(input_ids)
        for layer, module in remote.local.items():
            whole = module.prefetch_embeddings(input_ids).wait().unflatten(-1, (4, 4))
            expected = whole if owned is None else whole[..., list(owned), :]
            assert torch.equal(pending[layer].wait(), expected.flatten(-2))
    assert prefetchers[0].stats().layers[0].sent_rows < prefetchers[0].stats().layers[0].rows / 2


def test_a_rank_alone_asks_for_each_of_its_rows_once(config, make_remote):
    remote = make_remote(config)
    prefetcher = Prefetcher(remote.modules.values(), columns=(0, 3), settings=ALWAYS)
    input_ids = repetitive_ids()

    embeddings = prefetcher.prefetch(input_ids)[0].wait()

    expected = remote.local[0].prefetch_embeddings(input_ids).wait().unflatten(-1, (4, 4))[..., [0, 3], :]
    assert torch.equal(embeddings, expected.flatten(-2))
    assert remote.tables[0].last.ids.size < 3 * 40


def test_a_call_of_as_many_different_ngrams_as_there_can_be_fits_into_its_buffer(config, make_remote):
    remote = make_remote(config)
    prefetcher = Prefetcher(
        remote.modules.values(), settings=PrefetchSettings(max_tokens=7, num_slots=2, deduplicate="always")
    )
    input_ids = torch.arange(7).reshape(1, 7)

    for _ in range(3):
        pending = prefetcher.prefetch(input_ids)
        for layer, module in remote.local.items():
            assert torch.equal(pending[layer].wait(), module.prefetch_embeddings(input_ids).wait())
    assert remote.tables[0].last.ids.shape == (14, 2)


def test_layers_that_hash_alike_read_the_tokens_once(config, make_remote):
    remote = make_remote(config)
    reads = []

    class Counting(NgramHasher):
        def _read(self, ids, takes_part):
            reads.append(ids.shape)
            return super()._read(ids, takes_part)

    hasher = Counting(config.hash_spec, np.arange(config.vocab_size))
    for module in remote.modules.values():
        module.addressing.on_host = hasher
    states = {layer: EngramState() for layer in remote.modules}
    prefetcher = Prefetcher(remote.modules.values())

    for _ in range(3):
        prefetcher.prefetch(repetitive_ids(), states=states).discard()

    assert reads == [(3, 40)] * 3


class Clock:
    """Tells `Repeats` of fetches that took what a test says."""

    def __init__(self, num_rows):
        self.repeats = Repeats("if_it_pays")
        self.num_rows = num_rows

    def run(self, calls, *, once_seconds, plain_seconds=1e-3, sent_share=0.5):
        """Return how many of the calls said each n-gram once."""
        taken = 0
        for _ in range(calls):
            once = self.repeats.say_once(self.num_rows)
            sent = int(self.num_rows * sent_share) if once else self.num_rows
            self.repeats.begin()
            self.repeats.end(sent)
            self.repeats.record(self.num_rows, sent, once_seconds if once else plain_seconds, once=once)
            taken += once
        return taken


def test_what_costs_more_than_it_saves_is_done_without():
    calls = Clock(num_rows=1000)

    assert calls.run(3, once_seconds=1e6) == 0  # what a plain call takes must be known first
    assert 0 < calls.run(2000, once_seconds=1e6) < 200


def test_what_saves_goes_on():
    assert Clock(num_rows=1000).run(2000, once_seconds=0.5e-3) == 1997


def test_calls_of_other_sizes_are_judged_by_themselves():
    calls = Clock(num_rows=24)
    calls.run(2000, once_seconds=1e6)

    assert not calls.repeats.say_once(24)
    calls.num_rows = 24 * 512
    assert calls.run(103, once_seconds=0.5e-3) == 100


def test_a_policy_is_followed_without_measuring():
    assert Repeats("always").say_once(1)
    assert not Repeats("never").say_once(1 << 20)


def test_gradients_keep_what_the_layers_read(config, make_remote):
    remote = make_remote(config)
    prefetcher = Prefetcher(remote.modules.values(), settings=ALWAYS)
    hidden_states = torch.randn(3, 40, 2, 8)
    module, own = remote.modules[0], remote.local[0]

    with torch.enable_grad():
        calls = [(ids, prefetcher.prefetch(ids)[0]) for ids in (repetitive_ids(), repetitive_ids())]
        results = [(ids, module(hidden_states, memory_embeddings=pending)[0]) for ids, pending in calls]
        sum(updated.square().sum() for _, updated in results).backward()
        sum(own(hidden_states, ids)[0].square().sum() for ids, _ in results).backward()

    assert torch.equal(module.value_proj.weight.grad, own.value_proj.weight.grad)

"""Sequences in pieces, down to one token at a time, give what they give whole.

What is looked up is the same bit for bit. What is computed from it may differ in the last bits, because a matrix
product sums in another order for another number of tokens.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_model import EngramConfig, EngramModule, EngramState

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
LENGTH = 11


def pieces_of(cuts):
    borders = [0, *sorted(cuts), LENGTH]
    return [slice(start, stop) for start, stop in pairwise(borders)]


ONE_BY_ONE = pieces_of(range(1, LENGTH))


def tokens(config, dtype=torch.float32):
    """Hidden states, ids and a mask that hides a third of them."""
    hidden_states = torch.randn(2, LENGTH, config.num_branches, config.hidden_dim, dtype=dtype)
    return hidden_states, torch.randint(0, config.vocab_size, (2, LENGTH)), torch.rand(2, LENGTH) < 0.67


@torch.no_grad()
def in_pieces(module, hidden_states, input_ids, mask, pieces):
    state = EngramState()
    results = [
        module(
            hidden_states[:, piece],
            input_ids[:, piece],
            mask=None if mask is None else mask[:, piece],
            return_gating=True,
            state=state,
        )
        for piece in pieces
    ]
    return tuple(torch.cat(parts, dim=1) for parts in zip(*results, strict=True))


def assert_same(results, expected):
    for result, whole in zip(results, expected, strict=True):
        tolerance = TOLERANCE[whole.dtype]
        torch.testing.assert_close(result, whole, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("masked", [False, True])
def test_decoding_token_by_token_is_the_full_forward(form, make_module, dtype, masked):
    module = make_module(form, dtype=dtype)
    hidden_states, input_ids, mask = tokens(form, dtype)
    mask = mask if masked else None

    with torch.no_grad():
        whole = module(hidden_states, input_ids, mask=mask, return_gating=True)

    assert_same(in_pieces(module, hidden_states, input_ids, mask, ONE_BY_ONE), whole)


@pytest.mark.parametrize("name", ["demo", "v41", "study"])
def test_any_pieces_even_empty_ones_are_the_full_forward(forms, make_module, name):
    config = forms[name]
    module = make_module(config)
    hidden_states, input_ids, mask = tokens(config)
    whole = module(hidden_states, input_ids, mask=mask, return_gating=True)

    @settings(max_examples=20)
    @given(st.lists(st.integers(0, LENGTH), max_size=5))
    def check(cuts):
        assert_same(in_pieces(module, hidden_states, input_ids, mask, pieces_of(cuts)), whole)

    check()


def test_the_rows_of_pieces_are_those_of_the_whole_to_the_bit(form, make_module):
    module = make_module(form)
    _, input_ids, mask = tokens(form)
    for_rows, for_embeddings = EngramState(), EngramState()

    rows = [module.row_ids(input_ids[:, piece], mask[:, piece], state=for_rows) for piece in ONE_BY_ONE]
    embeddings = [
        module.prefetch_embeddings(input_ids[:, piece], mask[:, piece], state=for_embeddings).wait()
        for piece in ONE_BY_ONE
    ]

    assert np.array_equal(np.concatenate(rows, axis=1), module.row_ids(input_ids, mask))
    assert torch.equal(torch.cat(embeddings, dim=1), module.prefetch_embeddings(input_ids, mask).wait())


def test_pieces_through_a_store_give_the_bits_of_pieces_of_a_local_table(form, make_module, store_of):
    local = make_module(form)
    remote = EngramModule(form, memory=store_of(local))
    remote.load_state_dict({k: v for k, v in local.state_dict().items() if not k.startswith("memory.")})
    hidden_states, input_ids, mask = tokens(form)
    pieces = pieces_of([1, 2, 3, 8])

    from_store = in_pieces(remote, hidden_states, input_ids, mask, pieces)

    assert all(
        torch.equal(a, b)
        for a, b in zip(from_store, in_pieces(local, hidden_states, input_ids, mask, pieces), strict=True)
    )
    assert_same(from_store, remote(hidden_states, input_ids, mask=mask, return_gating=True))


@torch.no_grad()
def test_pieces_may_be_prefetched_before_the_turn_of_those_before_them(form, make_module, store_of):
    local = make_module(form)
    remote = EngramModule(form, memory=store_of(local))
    hidden_states, input_ids, mask = tokens(form)
    state, pieces = EngramState(), pieces_of([2, 3, 8])

    pending = [remote.prefetch_embeddings(input_ids[:, piece], mask[:, piece], state=state) for piece in pieces]
    results = [
        remote(hidden_states[:, piece], memory_embeddings=embeddings, mask=mask[:, piece], state=state)[0]
        for piece, embeddings in zip(pieces, pending, strict=True)
    ]

    assert_same([torch.cat(results, dim=1)], remote(hidden_states, input_ids, mask=mask)[:1])


@torch.no_grad()
def test_a_copy_of_a_state_is_a_mark_to_come_back_to(form, make_module):
    module = make_module(form)
    hidden_states, input_ids, _ = tokens(form)
    state = EngramState()
    module(hidden_states[:, :6], input_ids[:, :6], state=state)
    mark = copy.copy(state)

    module(-hidden_states[:, 6:8], input_ids[:, 3:5], state=state)  # a guess that turns out wrong
    result, _ = module(hidden_states[:, 6:], input_ids[:, 6:], state=mark)

    assert_same([result], [module(hidden_states, input_ids)[0][:, 6:]])


@torch.no_grad()
def test_a_call_that_fails_leaves_the_state_as_it_was(config, make_module, store_of):
    remote = EngramModule(config, memory=store_of(make_module(config)))
    hidden_states, input_ids, mask = tokens(config)
    state, table = EngramState(), remote.memory.table
    remote(hidden_states[:, :6], input_ids[:, :6], state=state)
    rows, table.rows = table.rows, table.rows[:0]
    before = copy.copy(state)

    for error, rest in [
        (IndexError, (hidden_states[:, 6:], input_ids[:, 6:])),
        (ValueError, (hidden_states[:, 6:], input_ids[:, 5:])),
        (TypeError, (hidden_states[:, 6:], input_ids[:, 6:], None, mask[:, 6:].int())),
    ]:
        with pytest.raises(error):
            remote(*rest, state=state)
        assert state.history is before.history
        assert state.conv_past is before.conv_past
        table.rows = rows
    result, _ = remote(hidden_states[:, 6:], input_ids[:, 6:], state=state)
    assert_same([result], [remote(hidden_states, input_ids)[0][:, 6:]])


@torch.no_grad()
def test_a_state_of_other_sequences_is_refused(config, make_module):
    module, state = make_module(config), EngramState()
    hidden_states, input_ids, _ = tokens(config)
    module(hidden_states, input_ids, state=state)

    with pytest.raises(ValueError, match=r"the history must be of \(1, 2\) tokens, got \(2, 2\)"):
        module(hidden_states[:1], input_ids[:1], state=state)
    with pytest.raises(ValueError, match="the state is of 2 sequences, got 1"):
        module(hidden_states[:1], memory_embeddings=torch.zeros(1, LENGTH, 16), state=state)
    with pytest.raises(ValueError, match="the history was made by"):
        make_module(replace(config, seed=1))(hidden_states, input_ids, state=state)


def test_a_state_keeps_no_more_than_the_next_tokens_need_and_no_gradients(config, make_module):
    module, state = make_module(config), EngramState()
    hidden_states, input_ids, _ = tokens(config)

    module(hidden_states, input_ids, state=state)

    assert state.conv_past.values.shape == (2, 9, 2, 8)  # three taps back, each three tokens
    assert state.conv_past.values.untyped_storage().nbytes() == 2 * 9 * 2 * 8 * 4
    assert not state.conv_past.values.requires_grad


def test_a_form_without_convolution_keeps_ids_only(forms, make_module):
    module, state = make_module(forms["v41"]), EngramState()
    hidden_states, input_ids, _ = tokens(forms["v41"])

    module(hidden_states, input_ids, state=state)

    assert state.conv_past is None
    assert state.history is not None


def test_a_stream_of_bfloat16_is_the_full_forward(make_module):
    config = replace(EngramConfig.official_demo(), vocab_size=50, embedding_table_size=11, hidden_dim=32)
    module = make_module(config, dtype=torch.bfloat16)
    hidden_states, input_ids, mask = tokens(config, torch.bfloat16)

    with torch.no_grad():
        whole, _ = module(hidden_states, input_ids, mask=mask)

    result, _ = in_pieces(module, hidden_states, input_ids, mask, ONE_BY_ONE)
    torch.testing.assert_close(result, whole, rtol=2.0**-7, atol=0.05)  # products are rounded to bfloat16

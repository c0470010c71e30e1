"""Documents packed into one row give what each of them gives alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engram_model import EngramModule, EngramState

LENGTH = 14
SEQUENCE_IDS = torch.tensor(
    [[1] * 6 + [2] * 8, [0, 0] + [3] * 5 + [1] + [3] * 4 + [0, 0]]
)  # 3 comes twice: two documents
DOCUMENTS = [(0, 0, 6), (0, 6, 14), (1, 2, 7), (1, 7, 8), (1, 8, 12)]  # row, first token, the one behind the last
PADDING = [(1, 0, 2), (1, 12, 14)]


@pytest.fixture
def packed(form, make_module):
    """A module and what it is called with, but for the sequence ids."""
    module = make_module(form, dtype=torch.float64)
    hidden_states = torch.randn(2, LENGTH, form.num_branches, form.hidden_dim, dtype=torch.float64)
    mask = torch.rand(2, LENGTH) < 0.8
    return module, hidden_states, torch.randint(0, form.vocab_size, (2, LENGTH)), mask


def alone(module, hidden_states, input_ids, mask, document):
    row, start, stop = document
    part = (slice(row, row + 1), slice(start, stop))
    return module(hidden_states[part], input_ids[part], mask=mask[part], return_gating=True)


def assert_documents(module, arguments, results):
    for row, start, stop in DOCUMENTS:
        for result, expected in zip(results, alone(module, *arguments, (row, start, stop)), strict=True):
            torch.testing.assert_close(result[row : row + 1, start:stop], expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_document_in_a_packed_row_gives_what_it_gives_alone(packed):
    module, hidden_states, input_ids, mask = packed

    results = module(hidden_states, input_ids, mask=mask, return_gating=True, sequence_ids=SEQUENCE_IDS)

    assert_documents(module, packed[1:], results)


@torch.no_grad()
@pytest.mark.parametrize("piece", [1, 3])
def test_a_packed_row_in_pieces_gives_the_same(packed, piece):
    module, state, parts = packed[0], EngramState(), []

    for start in range(0, LENGTH, piece):
        hidden_states, input_ids, mask, sequence_ids = (
            whole[:, start : start + piece] for whole in (*packed[1:], SEQUENCE_IDS)
        )
        parts.append(
            module(hidden_states, input_ids, mask=mask, return_gating=True, sequence_ids=sequence_ids, state=state)
        )

    assert_documents(module, packed[1:], [torch.cat(results, dim=1) for results in zip(*parts, strict=True)])


@torch.no_grad()
def test_padding_is_masked(packed):
    module, hidden_states, input_ids, _ = packed

    updated, gating = module(hidden_states, input_ids, return_gating=True, sequence_ids=SEQUENCE_IDS)

    for row, start, stop in PADDING:
        assert torch.equal(updated[row, start:stop], hidden_states[row, start:stop])
        assert not gating[row, start:stop].any()


@torch.no_grad()
def test_packed_rows_from_a_store_or_prefetched_give_the_same_bits(form, make_module, store_of):
    local = make_module(form)
    remote = EngramModule(form, memory=store_of(local))
    remote.load_state_dict({k: v for k, v in local.state_dict().items() if not k.startswith("memory.")})
    hidden_states, input_ids = torch.randn(2, LENGTH, form.num_branches, 8), torch.randint(0, 50, (2, LENGTH))

    expected, _ = local(hidden_states, input_ids, sequence_ids=SEQUENCE_IDS)
    for module in (local, remote):
        prefetched = module.prefetch_embeddings(input_ids, sequence_ids=SEQUENCE_IDS)
        result, _ = module(hidden_states, memory_embeddings=prefetched, sequence_ids=SEQUENCE_IDS.numpy())
        assert torch.equal(result, expected)
    assert torch.equal(remote(hidden_states, input_ids, sequence_ids=SEQUENCE_IDS)[0], expected)


def test_the_rows_of_packed_tokens_are_those_of_the_hash(packed):
    module, _, input_ids, mask = packed
    takes_part = mask.numpy() if module.config.masked_tokens_are_dead else None

    rows = module.row_ids(input_ids, mask, sequence_ids=SEQUENCE_IDS)

    expected = module.hasher.rows(input_ids.numpy(), module.layer_id, takes_part, SEQUENCE_IDS.numpy())
    assert np.array_equal(rows, expected)
    assert not np.array_equal(rows, module.row_ids(input_ids, mask))


@torch.no_grad()
def test_a_stream_begun_without_sequence_ids_is_document_one(config, make_module):
    module, state = make_module(config, dtype=torch.float64), EngramState()
    hidden_states, input_ids = torch.randn(1, 9, 2, 8).double(), torch.randint(0, 50, (1, 9))
    module(hidden_states[:, :4], input_ids[:, :4], state=state)

    sequence_ids = torch.tensor([[1, 1, 2, 2, 2]])
    rest, _ = module(hidden_states[:, 4:], input_ids[:, 4:], sequence_ids=sequence_ids, state=state)

    first, _ = module(hidden_states[:, :6], input_ids[:, :6])
    second, _ = module(hidden_states[:, 6:], input_ids[:, 6:])
    torch.testing.assert_close(rest, torch.cat([first[:, 4:], second], dim=1), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_stream_with_sequence_ids_is_not_continued_without_them(config, make_module):
    module, state = make_module(config), EngramState()
    hidden_states, input_ids = torch.randn(1, 3, 2, 8), torch.randint(0, 50, (1, 3))
    embeddings = module.prefetch_embeddings(input_ids)
    module(hidden_states, input_ids, sequence_ids=torch.ones(1, 3, dtype=torch.int64), state=state)

    with pytest.raises(ValueError, match="made with sequence_ids"):
        module(hidden_states, input_ids, state=state)
    with pytest.raises(ValueError, match="the state was made with sequence_ids"):
        module(hidden_states, memory_embeddings=embeddings, state=state)


def test_sequence_ids_of_another_shape_or_type_are_refused(config, hidden_states, input_ids):
    module = EngramModule(replace(config, conv_kernel_size=None))

    with pytest.raises(ValueError, match=r"sequence_ids must be of shape \(2, 11\), got \(2, 1\)"):
        module(hidden_states, input_ids, sequence_ids=torch.ones(2, 1, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"sequence_ids must be integers, got torch\.bool"):
        module(hidden_states, input_ids, sequence_ids=input_ids > 0)

"""The study implementation's transformer layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from engram_model import EngramConfig, EngramTransformerLayer


@pytest.fixture
def engram_config():
    return EngramConfig.study(vocab_size=50, embedding_table_size=11, embedding_dim=4, hidden_dim=8)


@pytest.fixture
def layer(engram_config):
    return EngramTransformerLayer(8, 2, 16, engram_config=engram_config).eval()


def test_a_layer_runs_on_ids_or_on_what_was_prefetched(layer, input_ids):
    hidden_states = torch.randn(2, 11, 8)

    from_ids = layer(hidden_states, input_ids=input_ids)
    prefetched = layer(hidden_states, memory_embeddings=layer.engram.prefetch_embeddings(input_ids))

    assert from_ids.shape == (2, 11, 8)
    assert torch.equal(prefetched, from_ids)


def test_engram_comes_first_and_adds_to_the_residual(layer, input_ids):
    hidden_states = torch.randn(2, 11, 8)
    remembered, _ = layer.engram(hidden_states, input_ids)
    plain = EngramTransformerLayer(8, 2, 16).eval()
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("engram.")})

    assert plain.engram is None
    assert torch.equal(layer(hidden_states, input_ids=input_ids), plain(remembered))


def test_an_attention_mask_hides_what_it_says(layer, input_ids):
    hidden_states = torch.randn(2, 11, 8)
    changed = hidden_states.clone()
    changed[:, 6] += 1
    booleans = torch.ones(11, 11, dtype=torch.bool).triu(1)
    numbers = nn.Transformer.generate_square_subsequent_mask(11)

    before, after = (layer(states, booleans, input_ids) for states in (hidden_states, changed))

    torch.testing.assert_close(after[:, :6], before[:, :6])
    assert (after[:, 6:] != before[:, 6:]).any()
    torch.testing.assert_close(layer(hidden_states, numbers, input_ids), before)
    assert (layer(changed, None, input_ids)[:, :6] != layer(hidden_states, None, input_ids)[:, :6]).any()


def test_sequence_ids_go_to_the_engram(layer, input_ids):
    hidden_states = torch.randn(2, 11, 8)
    packed = torch.arange(11).expand(2, 11) // 4 + 1
    prefetched = layer.engram.prefetch_embeddings(input_ids, sequence_ids=packed)
    remembered, _ = layer.engram(hidden_states, input_ids, sequence_ids=packed)
    plain = EngramTransformerLayer(8, 2, 16).eval()
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("engram.")})

    assert torch.equal(layer(hidden_states, None, input_ids, sequence_ids=packed), plain(remembered))
    assert torch.equal(layer(hidden_states, None, None, prefetched, sequence_ids=packed), plain(remembered))


def test_dropout_is_for_training_only(layer, input_ids):
    hidden_states = torch.randn(2, 11, 8)

    assert torch.equal(layer(hidden_states, None, input_ids), layer(hidden_states, None, input_ids))
    layer.train()
    assert not torch.equal(layer(hidden_states, None, input_ids), layer(hidden_states, None, input_ids))


def test_gradients_reach_every_weight(layer, input_ids):
    layer(torch.randn(2, 11, 8), input_ids=input_ids).square().sum().backward()

    assert [name for name, parameter in layer.named_parameters() if parameter.grad is None] == []


def test_neither_ids_nor_embeddings_is_refused(layer):
    with pytest.raises(ValueError, match="either input_ids or memory_embeddings"):
        layer(torch.randn(2, 11, 8))


@pytest.mark.parametrize("changes", [{"hidden_dim": 16}, {"num_branches": 2}])
def test_a_configuration_of_another_width_or_of_branches_is_refused(engram_config, changes):
    with pytest.raises(ValueError, match="must have one branch of hidden_dim 8, got"):
        EngramTransformerLayer(8, 2, 16, replace(engram_config, **changes))

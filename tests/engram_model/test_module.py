"""The layer against a second implementation in plain NumPy, and what its arguments mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.engram_module import engram_layer

from engram_model import EngramModule


def reference_weights(module):
    """The module's weights under the names of the demonstration program, float64."""
    own = {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}
    weights = {
        "value_proj.weight": own["value_proj.weight"],
        "value_proj.bias": own["value_proj.bias"],
        "short_conv.conv.weight": own["short_conv.taps"].reshape(len(own["short_conv.taps"]), -1).T[:, None],
    }
    branches = module.config.num_branches
    key_weights = np.split(own["gate.key_proj.weight"], branches)
    key_biases = np.split(own["gate.key_proj.bias"], branches)
    for branch in range(branches):
        weights[f"key_projs.{branch}.weight"] = key_weights[branch]
        weights[f"key_projs.{branch}.bias"] = key_biases[branch]
        weights[f"norm1.{branch}.weight"] = own["gate.key_norm_weight"][branch]
        weights[f"norm2.{branch}.weight"] = own["gate.query_norm_weight"][branch]
        weights[f"short_conv.norms.{branch}.weight"] = own["short_conv.norm.weight"][branch]
    return weights


def reference_result(module, hidden_states, input_ids, **options):
    """Updated hidden states and gating by the second implementation."""
    rows = module.row_ids(input_ids)  # (B, T, columns)
    embeddings = module.memory.table.weight.detach().double().numpy()[rows].reshape(*rows.shape[:2], -1)
    eps = module.config.gate_norm_eps or torch.finfo(hidden_states.dtype).eps
    hidden_states = hidden_states.double().numpy().reshape(*rows.shape[:2], module.config.num_branches, -1)
    return engram_layer(
        reference_weights(module),
        hidden_states,
        embeddings,
        dilation=module.config.dilation,
        gate_eps=eps,
        conv_eps=module.config.conv_norm_eps,
        signed_sqrt=module.config.signed_sqrt,
        **options,
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_branches": 1},
        {"num_branches": 4, "conv_kernel_size": 1},
        {"signed_sqrt": False, "conv_kernel_size": 3, "conv_dilation": 1},
        {"gate_norm_eps": 1e-3, "conv_norm_eps": 1e-2, "max_n": 4, "embedding_table_size": 17},
    ],
)
def test_the_layer_is_what_plain_numpy_says(config, make_module, input_ids, dtype, tolerance, changes):
    module = make_module(replace(config, **changes), dtype=dtype, layer_id=2)
    hidden_states = torch.randn(2, 11, module.config.num_branches, 8, dtype=dtype)
    hidden_states[0, 1] = 0  # a score of exactly 0

    with torch.no_grad():
        updated, gating = module(hidden_states, input_ids, return_gating=True)

    expected_updated, expected_gating = reference_result(module, hidden_states, input_ids)
    np.testing.assert_allclose(updated.numpy(), expected_updated, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(gating.numpy(), expected_gating, rtol=tolerance, atol=tolerance)


def test_one_branch_may_be_left_out_of_the_shape(config, make_module, input_ids):
    module = make_module(replace(config, num_branches=1))
    hidden_states = torch.randn(2, 11, 8)

    updated, gating = module(hidden_states, input_ids, return_gating=True)
    with_axis, _ = module(hidden_states.unsqueeze(2), input_ids)

    assert updated.shape == (2, 11, 8)
    assert gating.shape == (2, 11, 1)
    assert torch.equal(with_axis.squeeze(2), updated)


@pytest.mark.parametrize("shape", [(2, 11, 8), (2, 11, 3, 8), (2, 11, 2, 7), (11, 8)])
def test_hidden_states_of_another_shape_are_refused(config, input_ids, shape):
    with pytest.raises(ValueError, match=r"must be of shape \(B, T, 2, 8\), got"):
        EngramModule(config)(torch.zeros(shape), input_ids)


def test_neither_ids_nor_embeddings_is_refused(config, hidden_states):
    with pytest.raises(ValueError, match="either input_ids or memory_embeddings"):
        EngramModule(config)(hidden_states)


def test_embeddings_for_other_tokens_are_refused(config, hidden_states):
    with pytest.raises(ValueError, match=r"memory_embeddings must be of shape \(2, 11, 16\), got \(2, 10, 16\)"):
        EngramModule(config)(hidden_states, memory_embeddings=torch.zeros(2, 10, 16))


def test_with_the_gate_closed_everywhere_only_the_residual_is_left(config, make_module, hidden_states, input_ids):
    module = make_module(config)

    updated, gating = module(hidden_states, input_ids, mask=torch.zeros(2, 11, dtype=torch.bool), return_gating=True)

    assert torch.equal(updated, hidden_states)
    assert not gating.any()


def test_a_mask_closes_the_gates_of_its_tokens_and_no_others(config, make_module, hidden_states, input_ids):
    module = make_module(config, dtype=torch.float64)
    mask = torch.rand(2, 11) < 0.6

    updated, gating = module(hidden_states.double(), input_ids, mask=mask, return_gating=True)

    expected_updated, expected_gating = reference_result(module, hidden_states.double(), input_ids, mask=mask.numpy())
    np.testing.assert_allclose(updated.detach().numpy(), expected_updated, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gating.detach().numpy(), expected_gating, rtol=1e-12, atol=1e-12)


def test_a_mask_of_another_shape_is_refused(config, hidden_states, input_ids):
    with pytest.raises(ValueError, match=r"mask must be of shape \(2, 11\), got \(2, 1\)"):
        EngramModule(config)(hidden_states, input_ids, mask=torch.ones(2, 1, dtype=torch.bool))


@pytest.mark.parametrize("name", ["demo", "v41"])
def test_a_mask_may_be_an_array_or_lists(forms, hidden_states, input_ids, name):
    module = EngramModule(forms[name])
    mask = torch.rand(2, 11) < 0.6
    expected, _ = module(hidden_states, input_ids, mask=mask)
    backwards = mask.flip(1).numpy()[:, ::-1]  # torch takes no view of such an array
    compiled = torch.compile(module, backend="eager")

    for given in (mask.numpy(), mask.tolist(), backwards):
        assert torch.equal(module(hidden_states, input_ids, mask=given)[0], expected)
        prefetched = module.prefetch_embeddings(input_ids, given)
        assert torch.equal(module(hidden_states, memory_embeddings=prefetched, mask=given)[0], expected)
    torch.testing.assert_close(compiled(hidden_states, input_ids, mask=mask.numpy())[0], expected)


@pytest.mark.parametrize(
    ("mask", "given"),
    [
        (torch.ones(2, 11, dtype=torch.int64), "torch.int64"),
        (np.ones((2, 11)), "float64"),
        ([[1] * 11] * 2, "int64"),
        ("all", "<U3"),
    ],
)
@pytest.mark.parametrize("name", ["demo", "v41"])
def test_a_mask_of_anything_but_booleans_is_refused(forms, hidden_states, input_ids, name, mask, given):
    with pytest.raises(TypeError, match=f"mask must be boolean, got {given}$"):
        EngramModule(forms[name])(hidden_states, input_ids, mask=mask)


@pytest.mark.parametrize(
    ("embeddings", "given"),
    [
        (torch.zeros(2, 11, 16, dtype=torch.int64), "torch.int64"),
        (torch.zeros(2, 11, 16, dtype=torch.complex64), "torch.complex64"),
        (np.zeros((2, 11, 16), dtype=np.int32), "torch.int32"),
        ([[[0.0] * 16] * 11] * 2, "list"),
    ],
)
def test_memory_embeddings_that_are_no_numbers_of_floating_point_are_refused(config, hidden_states, embeddings, given):
    with pytest.raises(TypeError, match=rf"memory_embeddings must be .* got {given}$"):
        EngramModule(config)(hidden_states, memory_embeddings=embeddings)


def test_a_sequence_padded_and_masked_on_the_left_gives_what_it_gives_alone(config, make_module, hidden_states):
    module = make_module(config, dtype=torch.float64)
    input_ids = torch.randint(0, 50, (2, 11))
    input_ids[:, :4] = config.pad_id
    mask = (torch.arange(11) >= 4).repeat(2, 1)

    padded, _ = module(hidden_states.double(), input_ids, mask=mask)
    alone, _ = module(hidden_states.double()[:, 4:], input_ids[:, 4:])

    torch.testing.assert_close(padded[:, 4:], alone, rtol=1e-12, atol=1e-12)


def test_masked_tokens_stay_in_the_n_grams_unless_the_family_takes_them_out(config, input_ids):
    mask = torch.ones(2, 11, dtype=torch.bool)
    mask[:, 5] = False
    stays, leaves = EngramModule(config), EngramModule(replace(config, masked_tokens_are_dead=True))

    whole = stays.row_ids(input_ids)

    assert np.array_equal(stays.row_ids(input_ids, mask), whole)
    assert np.array_equal(leaves.row_ids(input_ids, mask), leaves.hasher.rows(input_ids, 0, mask=mask.numpy()))
    changed = (leaves.row_ids(input_ids, mask) != whole).any(axis=(0, 2))
    assert changed.nonzero()[0].tolist() == [5, 6, 7]


def test_a_score_of_zero_opens_the_gate_to_a_half_or_by_the_clamp(config, make_module, input_ids):
    hidden_states = torch.zeros(2, 11, 2, 8)

    _, half = make_module(config)(hidden_states, input_ids, return_gating=True)
    _, clamped = make_module(replace(config, sign_of_zero=1))(hidden_states, input_ids, return_gating=True)

    assert torch.equal(half, torch.full((2, 11, 2), 0.5))
    torch.testing.assert_close(clamped, torch.full((2, 11, 2), 0.50025), rtol=0, atol=1e-6)


def test_bias_and_convolution_can_be_left_out(config, make_module, hidden_states, input_ids):
    bare = make_module(replace(config, bias=False, conv_kernel_size=None))

    updated, gating = bare(hidden_states, input_ids, return_gating=True)

    values = bare.value_proj(bare.prefetch_embeddings(input_ids).wait())
    assert {name for name, _ in bare.named_parameters() if "bias" in name or "conv" in name} == set()
    torch.testing.assert_close(updated, hidden_states + gating.unsqueeze(-1) * values.unsqueeze(-2))


def test_layers_of_one_model_read_different_rows(config, input_ids):
    first, third = EngramModule(config, layer_id=0), EngramModule(config, layer_id=2)

    assert EngramModule(config).layer_id == 0
    assert not np.array_equal(first.row_ids(input_ids), third.row_ids(input_ids))


def test_a_layer_that_the_model_does_not_have_is_refused(config):
    with pytest.raises(ValueError, match=r"layer_id must be one of \(0, 2\), got 1"):
        EngramModule(config, layer_id=1)


def test_tokens_that_are_one_in_the_token_map_read_the_same_rows(config):
    token_map = np.arange(50) // 2

    module = EngramModule(config, token_map=token_map)

    assert np.array_equal(module.row_ids(torch.tensor([[10, 20, 30]])), module.row_ids([[11, 21, 31]]))


@pytest.mark.parametrize("length", [40, 51])
def test_a_token_map_of_another_length_than_the_vocabulary_is_refused(forms, length):
    for config in (forms["demo"], forms["study"]):
        with pytest.raises(ValueError, match=rf"as long as vocab_size, 50 ids, got {length}: .*vocab_size={length}"):
            EngramModule(config, token_map=np.arange(length))


def test_a_table_above_the_limit_is_refused_with_the_way_out(config):
    with pytest.raises(ValueError, match=r"max_local_bytes is 100: pass memory="):
        EngramModule(replace(config, max_local_bytes=100))


@pytest.mark.parametrize(("batch", "length"), [(2, 0), (0, 11), (1, 1)])
def test_few_or_no_tokens_are_no_special_case(config, batch, length):
    updated, gating = EngramModule(config)(
        torch.zeros(batch, length, 2, 8), np.zeros((batch, length), dtype=np.int64), return_gating=True
    )

    assert updated.shape == (batch, length, 2, 8)
    assert gating.shape == (batch, length, 2)

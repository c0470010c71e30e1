"""The forms beside DEMO's against second implementations in plain NumPy, loaded by their published names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.engram_academic import academic_layer
from reference.engram_study import study_embeddings, study_layer
from reference.engram_v41 import v41_fusion, v41_layer
from reference.study_hash import hash_sequence

from engram_model import EngramConfig, EngramModule

ACCURACY = [(torch.float32, 1e-5), (torch.float64, 1e-12)]


def random_state(shapes):
    generator = np.random.default_rng(5)
    return {name: generator.standard_normal(shape) for name, shape in shapes.items()}


def v41_state(config):
    branches = (config.num_branches, config.hidden_dim)
    wkv = ((config.num_branches + 1) * config.hidden_dim, config.memory_dim)
    return random_state({"wkv.weight": wkv, "q_weight": branches, "k_weight": branches})


def study_state(config):
    width, memory_dim = config.hidden_dim, config.memory_dim
    shapes = {
        "gating.W_K.0.weight": (width, memory_dim),
        "gating.W_V.weight": (width, memory_dim),
        "gating.norm.weight": (width,),
        "fusion.norm.weight": (width,),
        "fusion.conv.conv.weight": (width, 1, 3),
    }
    for order in range(config.min_n, config.max_n + 1):
        for head in range(config.num_hash_heads):
            shapes[f"embedding_table.embeddings.E_{order}_{head}.weight"] = (11, config.embedding_dim)
    return random_state(shapes)


def study_indices(config, input_ids):
    """{n: (B, T, K)} by the second implementation of the hash."""
    hashed = [
        hash_sequence(ids, min_ngram=2, max_ngram=4, heads=config.num_hash_heads, table_size=11)
        for ids in input_ids.tolist()
    ]
    return {order: np.array([[token[order] for token in sequence] for sequence in hashed]) for order in (2, 3, 4)}


def as_tensors(state):
    return {name: torch.from_numpy(array) for name, array in state.items()}


def rounded(state, dtype):
    """The numbers as the module has them."""
    return {name: tensor.to(dtype).double().numpy() for name, tensor in as_tensors(state).items()}


def loaded(config, state, dtype):
    module = EngramModule(config).to(dtype)
    module.load_reference_state(as_tensors(state))
    return module


def looked_up(module, input_ids, mask=None):
    """The rows (B, T, columns, D) that a module reads."""
    return module.memory.table.weight.detach().double().numpy()[module.row_ids(input_ids, mask)]


def assert_close(result, expected, tolerance):
    for tensor, array in zip(result, expected, strict=True):
        np.testing.assert_allclose(tensor.detach().numpy(), array, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), ACCURACY)
@pytest.mark.parametrize("masked", [False, True])
def test_the_v41_form_is_what_plain_numpy_says(forms, hidden_states, input_ids, dtype, tolerance, masked):
    state = v41_state(forms["v41"])
    module = loaded(forms["v41"], state, dtype)
    hidden_states = hidden_states.to(dtype)
    mask = torch.rand(2, 11) < 0.7 if masked else None

    result = module(hidden_states, input_ids, mask=mask, return_gating=True)

    embeddings = looked_up(module, input_ids, mask).reshape(2, 11, -1)
    numpy_mask = None if mask is None else mask.numpy()
    expected = v41_layer(rounded(state, dtype), hidden_states.double().numpy(), embeddings, numpy_mask)
    assert_close(result, expected, tolerance)


def test_a_hidden_state_of_zeros_opens_the_v41_gate_by_the_clamp(forms, input_ids):
    module = loaded(forms["v41"], v41_state(forms["v41"]), torch.float64)

    _, gating = module(torch.zeros(2, 11, 2, 8).double(), input_ids, return_gating=True)

    torch.testing.assert_close(gating, torch.full_like(gating, 1 / (1 + np.exp(-1e-3))), rtol=0, atol=1e-12)


def test_a_v41_layer_in_bfloat16_rounds_once_after_its_projections(forms, input_ids):
    config = replace(forms["v41"], hidden_dim=64)
    module = loaded(config, v41_state(config), torch.bfloat16)
    hidden_states = torch.randn(2, 11, 2, 64).bfloat16()
    embeddings = module.prefetch_embeddings(input_ids).wait()
    kv = torch.cat([module.gate.key_proj(embeddings), module.value_proj(embeddings)], dim=-1)

    updated, gating = module(hidden_states, input_ids, return_gating=True)

    weights = rounded(v41_state(config), torch.bfloat16)
    exact = v41_fusion(
        weights["q_weight"], weights["k_weight"], hidden_states.double().numpy(), kv.detach().double().numpy()
    )
    assert (updated.dtype, gating.dtype) == (torch.bfloat16, torch.float32)
    np.testing.assert_allclose(updated.detach().double().numpy(), exact[0], rtol=2.0**-8, atol=1e-5)
    np.testing.assert_allclose(gating.detach().numpy(), exact[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), ACCURACY)
@pytest.mark.parametrize("masked", [False, True])
def test_the_study_form_is_what_plain_numpy_says(forms, input_ids, dtype, tolerance, masked):
    state = study_state(forms["study"])
    module = loaded(forms["study"], state, dtype)
    hidden_states = torch.randn(2, 11, 8, dtype=dtype)
    mask = torch.rand(2, 11) < 0.7 if masked else None

    result = module(hidden_states, input_ids, mask=mask, return_gating=True)

    weights = rounded(state, dtype)
    indices = study_indices(forms["study"], input_ids)
    numpy_mask = None if mask is None else mask.numpy()
    expected = study_layer(weights, hidden_states.double().numpy(), study_embeddings(weights, indices), numpy_mask)
    assert result[1].shape == (2, 11, 1)
    assert_close(result, expected, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), ACCURACY)
@pytest.mark.parametrize(("branches", "masked"), [(1, False), (3, True)])
def test_the_academic_form_is_what_plain_numpy_says(forms, make_module, input_ids, dtype, tolerance, branches, masked):
    module = make_module(replace(forms["academic"], num_branches=branches), dtype=dtype)
    hidden_states = torch.randn(2, 11, branches, 8, dtype=dtype)
    mask = torch.rand(2, 11) < 0.7 if masked else None

    result = module(hidden_states, input_ids, mask=mask, return_gating=True)

    own = {name: weight.detach().double().numpy() for name, weight in module.named_parameters()}
    numpy_mask = None if mask is None else mask.numpy()
    expected = academic_layer(
        own["gate.proj.weight"],
        own["value_proj.weight"],
        hidden_states.double().numpy(),
        looked_up(module, input_ids),
        numpy_mask,
    )
    assert own.keys() == {"gate.proj.weight", "value_proj.weight", "memory.table.weight"}
    assert_close(result, expected, tolerance)


def test_every_form_takes_gradients_in_all_its_weights(form, make_module, input_ids):
    module = make_module(form)

    module(torch.randn(2, 11, form.num_branches, 8), input_ids)[0].square().sum().backward()

    assert [name for name, parameter in module.named_parameters() if not parameter.grad.any()] == []


def test_indices_are_counted_from_the_start_of_each_heads_own_part(form, input_ids):
    module = EngramModule(form)

    indices = module.compute_indices(input_ids)

    offsets = torch.tensor(module.hasher.offsets[module.layer_id])
    rows = torch.cat([indices[order] for order in range(form.min_n, form.max_n + 1)], dim=-1) + offsets
    assert {order: (tuple(part.shape), part.dtype) for order, part in indices.items()} == dict.fromkeys(
        range(form.min_n, form.max_n + 1), ((2, 11, 2), torch.int64)
    )
    assert np.array_equal(rows.numpy(), module.row_ids(input_ids))


def test_the_study_quick_start_runs_in_the_study_form():
    config = EngramConfig.study(vocab_size=500, embedding_table_size=97, embedding_dim=4, hidden_dim=16)
    engram = EngramModule(config)
    ids, h = torch.randint(0, 500, (2, 9)), torch.randn(2, 9, 16)

    updated, gating = engram(hidden_states=h, input_ids=ids, return_gating=True)
    memory = engram.prefetch_embeddings(ids)
    again, nothing = engram(hidden_states=h, memory_embeddings=memory)

    assert config.memory_dim == 48
    assert (updated.shape, gating.shape, nothing) == ((2, 9, 16), (2, 9, 1), None)
    assert torch.equal(again, updated)
    assert len(engram.memory.table.weight) == 12 * 97

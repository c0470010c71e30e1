"""Weights by the names of DeepSeek's demonstration program."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.engram_module import engram_layer

from engram_model import EngramModule

TABLE = "multi_head_embedding.embedding.weight"
OFFSETS = "multi_head_embedding.offsets"


@pytest.fixture
def demo_state(config):
    """What the demonstration program saves for layer 2: M = 2, H = 8, memory 16 wide, 4 taps."""
    hasher = EngramModule(config, layer_id=2).hasher
    shapes = {
        "value_proj.weight": (8, 16),
        "value_proj.bias": (8,),
        "short_conv.conv.weight": (16, 1, 4),
        TABLE: (hasher.num_rows[2], 4),
    }
    for branch in range(2):
        shapes[f"key_projs.{branch}.weight"] = (8, 16)
        shapes[f"key_projs.{branch}.bias"] = (8,)
        for norms in ("norm1", "norm2", "short_conv.norms"):
            shapes[f"{norms}.{branch}.weight"] = (8,)
    state = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    state[OFFSETS] = torch.tensor(hasher.offsets[2])
    return state


def test_a_loaded_layer_is_what_plain_numpy_says(config, demo_state, hidden_states, input_ids):
    module = EngramModule(config, layer_id=2).double()

    module.load_reference_state(demo_state)
    updated, _ = module(hidden_states.double(), input_ids)

    weights = {name: tensor.numpy() for name, tensor in demo_state.items()}
    embeddings = weights[TABLE][module.row_ids(input_ids)].reshape(2, 11, 16)
    eps = float(np.finfo(np.float64).eps)
    expected, _ = engram_layer(weights, hidden_states.double().numpy(), embeddings, dilation=3, gate_eps=eps)
    np.testing.assert_allclose(updated.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_the_table_and_its_offsets_may_be_absent(config, demo_state):
    module = EngramModule(config, layer_id=2)
    table = module.memory.table.weight.clone()
    del demo_state[TABLE], demo_state[OFFSETS]

    module.load_reference_state(demo_state)

    assert torch.equal(module.memory.table.weight, table)
    assert torch.equal(module.value_proj.weight, demo_state["value_proj.weight"].float())


def test_a_module_with_its_rows_in_a_store_leaves_the_table_there(config, demo_state, make_module, store_of):
    module = EngramModule(config, layer_id=2, memory=store_of(make_module(config, layer_id=2)))

    module.load_reference_state(demo_state)

    assert torch.equal(module.value_proj.bias, demo_state["value_proj.bias"].float())


def test_offsets_of_another_layer_are_refused(config, demo_state):
    demo_state[OFFSETS] = torch.tensor(EngramModule(config).hasher.offsets[0])

    with pytest.raises(ValueError, match=rf"{OFFSETS} must be \[0, .*, as this layer hashes, got \[0, "):
        EngramModule(config, layer_id=2).load_reference_state(demo_state)


def test_missing_and_unknown_names_are_named_and_nothing_is_loaded(config, demo_state):
    module = EngramModule(config, layer_id=2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    del demo_state["norm1.1.weight"]
    demo_state["key_projs.2.weight"] = torch.zeros(8, 16)

    with pytest.raises(ValueError, match=r"missing \['norm1.1.weight'\], unknown \['key_projs.2.weight'\]"):
        module.load_reference_state(demo_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("name", ["value_proj.weight", "norm2.1.weight", "short_conv.conv.weight", TABLE])
def test_a_tensor_of_another_shape_is_refused_by_name_and_nothing_is_loaded(config, demo_state, name):
    module = EngramModule(config, layer_id=2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    demo_state[name] = torch.zeros(3, 3)

    with pytest.raises(ValueError, match=rf"{name} must be of shape \(.*\), got \(3, 3\)"):
        module.load_reference_state(demo_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("name", ["value_proj.weight", "norm2.1.weight", TABLE])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_bytes_are_not_taken_for_numbers_and_nothing_is_loaded(config, demo_state, name, dtype):
    module = EngramModule(config, layer_id=2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    demo_state[name] = demo_state[name].to(dtype)

    with pytest.raises(ValueError, match=rf"{name} must be one of \('torch.float64', .*\), got {dtype}"):
        module.load_reference_state(demo_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_form_without_bias_and_convolution_has_no_names_for_them(config, demo_state):
    bare = EngramModule(replace(config, bias=False, conv_kernel_size=None), layer_id=2)
    kept = {name: tensor for name, tensor in demo_state.items() if "bias" not in name and "short_conv" not in name}

    bare.load_reference_state(kept)

    with pytest.raises(ValueError, match=r"unknown \['key_projs\.0\.bias'"):
        bare.load_reference_state(demo_state)

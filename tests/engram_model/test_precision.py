"""Half precision and autocast: how far every form is from itself in float64 with the same weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from engram_model import EngramModule


def layer_and_tokens(form):
    config = replace(form, hidden_dim=64, embedding_dim=16)
    hidden_states = torch.randn(2, 64, config.num_branches, 64)
    return EngramModule(config), hidden_states, torch.randint(0, 50, (2, 64))


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2.0**-5), (torch.float16, 2.0**-7)])
def test_half_precision_stays_near_float64(form, dtype, tolerance):
    module, hidden_states, input_ids = layer_and_tokens(form)
    module, hidden_states = module.to(dtype), hidden_states.to(dtype)

    updated, gating = module(hidden_states, input_ids, return_gating=True)

    exact, exact_gating = copy.deepcopy(module).double()(hidden_states.double(), input_ids, return_gating=True)
    # A signed root is steep where the score is near 0: there the gates are furthest from their exact values.
    assert (updated.dtype, gating.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(updated.double(), exact, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gating.double(), exact_gating, rtol=0, atol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_data_type_of_the_hidden_states_and_stays_near_float64(form, dtype):
    module, hidden_states, input_ids = layer_and_tokens(form)
    hidden_states = hidden_states.to(dtype)

    with torch.autocast("cpu", torch.bfloat16):
        updated, gating = module(hidden_states, input_ids, return_gating=True)

    exact, exact_gating = copy.deepcopy(module).double()(hidden_states.double(), input_ids, return_gating=True)
    assert (updated.dtype, gating.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(updated.double(), exact, rtol=2.0**-4, atol=2.0**-4)
    torch.testing.assert_close(gating.double(), exact_gating, rtol=0, atol=2.0**-4)


def test_a_layer_trains_under_autocast(form):
    module, hidden_states, input_ids = layer_and_tokens(form)

    with torch.autocast("cpu", torch.bfloat16):
        updated, _ = module(hidden_states, input_ids)
    updated.square().sum().backward()

    assert all(parameter.grad.dtype == torch.float32 for parameter in module.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@torch.no_grad()
def test_hidden_states_of_another_data_type_than_the_weights_keep_theirs(form):
    module, hidden_states, input_ids = layer_and_tokens(form)

    in_float32, _ = module(hidden_states, input_ids)
    in_float64, _ = module(hidden_states.double(), input_ids)

    assert in_float64.dtype == torch.float64
    torch.testing.assert_close(in_float64.float(), in_float32, rtol=1e-5, atol=1e-5)

"""Gradients reach everything but a table in a memory store."""

from __future__ import annotations

import numpy as np
import torch

from engram_model import EngramModule


def test_gradients_reach_every_weight_the_hidden_states_and_the_rows_that_were_read(
    config, make_module, hidden_states, input_ids
):
    module = make_module(config)
    hidden_states.requires_grad_()

    module(hidden_states, memory_embeddings=module.prefetch_embeddings(input_ids))[0].square().sum().backward()

    assert hidden_states.grad.any()
    assert [name for name, parameter in module.named_parameters() if not parameter.grad.any()] == []
    reached = module.memory.table.weight.grad.any(dim=1).nonzero().flatten()
    assert reached.tolist() == np.unique(module.row_ids(input_ids)).tolist()


def test_gradients_are_those_of_finite_differences(config, make_module):
    module = make_module(config, dtype=torch.float64)
    hidden_states = torch.randn(1, 4, 2, 8, dtype=torch.float64, requires_grad=True)
    embeddings = torch.randn(1, 4, 16, dtype=torch.float64, requires_grad=True)
    names, weights = zip(
        *((name, weight) for name, weight in module.named_parameters() if not name.startswith("memory")), strict=True
    )

    def layer(hidden_states, embeddings, *weights):
        state = dict(zip(names, weights, strict=True))
        arguments = {"memory_embeddings": embeddings, "return_gating": True}
        return torch.func.functional_call(module, state, (hidden_states,), arguments)

    assert torch.autograd.gradcheck(layer, (hidden_states, embeddings, *weights), fast_mode=True)


def test_a_score_of_zero_has_a_finite_gradient(config, make_module, input_ids):
    hidden_states = torch.zeros(2, 11, 2, 8, requires_grad=True)

    make_module(config)(hidden_states, input_ids)[0].sum().backward()

    assert hidden_states.grad.isfinite().all()


def test_a_table_in_a_store_is_no_parameter_and_all_else_learns(
    config, make_module, store_of, hidden_states, input_ids
):
    remote = EngramModule(config, memory=store_of(make_module(config)))

    remote(hidden_states, input_ids)[0].square().sum().backward()

    assert not any("memory" in name for name in remote.state_dict())
    assert all(parameter.grad.any() for parameter in remote.parameters())

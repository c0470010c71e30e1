"""torch.compile takes a layer with a local table as one graph."""

from __future__ import annotations

import pytest
import torch

from engram_model import EngramState


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("masked", [False, True])
def test_a_compiled_layer_is_one_graph_and_gives_the_same_numbers(form, make_module, input_ids, masked):
    module = make_module(form)
    hidden_states = torch.randn(2, 11, form.num_branches, 8)
    mask = torch.rand(2, 11) < 0.7 if masked else None

    compiled = torch.compile(module, fullgraph=True, backend="eager")

    for result, expected in zip(
        compiled(hidden_states, input_ids, mask=mask, return_gating=True),
        module(hidden_states, input_ids, mask=mask, return_gating=True),
        strict=True,
    ):
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)


def test_gradients_of_a_compiled_layer_are_those_of_the_layer(config, make_module, hidden_states, input_ids):
    module = make_module(config)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")

    module(hidden_states, input_ids)[0].square().sum().backward()
    expected = {name: parameter.grad for name, parameter in module.named_parameters()}
    module.zero_grad()
    compiled(hidden_states, input_ids)[0].square().sum().backward()

    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_compiled_layer_decodes_with_a_state(config, make_module, hidden_states, input_ids):
    module, state = make_module(config), EngramState()
    compiled = torch.compile(module, fullgraph=True, backend="eager")

    results = [compiled(hidden_states[:, t : t + 1], input_ids[:, t : t + 1], state=state)[0] for t in range(11)]

    whole, _ = module(hidden_states, input_ids)
    torch.testing.assert_close(torch.cat(results, dim=1), whole, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_stream_goes_on_where_it_is_compiled_and_where_it_is_not(config, make_module, hidden_states, input_ids):
    module, state = make_module(config), EngramState()
    compiled = torch.compile(module, fullgraph=True, backend="eager")

    results = [
        layer(hidden_states[:, piece], input_ids[:, piece], state=state)[0]
        for layer, piece in [(module, slice(0, 4)), (compiled, slice(4, 8)), (module, slice(8, 11))]
    ]

    whole, _ = module(hidden_states, input_ids)
    torch.testing.assert_close(torch.cat(results, dim=1), whole, rtol=1e-6, atol=1e-6)

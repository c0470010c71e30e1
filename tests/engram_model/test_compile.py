"""torch.compile takes a layer with a local table as one graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engram_client.formats import row_bytes
from engram_model import EngramModule, EngramState

FORMS = ["demo", "paper", "v41", "academic", "study"]
QUANTIZED = ["float8_e4m3", "float8_e4m3*0x1.8p-7", "float8_e4m3+e8m0/32", "int8+float16/32"]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "masked_and_packed"), [*((name, False) for name in FORMS), ("demo", True), ("v41", True)]
)
def test_a_compiled_layer_is_one_graph_and_gives_the_same_numbers(
    forms, make_module, input_ids, name, masked_and_packed
):
    module = make_module(forms[name])
    hidden_states = torch.randn(2, 11, forms[name].num_branches, 8)
    options = {"return_gating": True}
    if masked_and_packed:
        options |= {"mask": torch.rand(2, 11) < 0.7, "sequence_ids": torch.arange(11).expand(2, 11) // 4}

    compiled = torch.compile(module, fullgraph=True, backend="eager")

    for result, expected in zip(
        compiled(hidden_states, input_ids, **options), module(hidden_states, input_ids, **options), strict=True
    ):
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("row_format", QUANTIZED)
def test_a_compiled_layer_decodes_the_rows_of_a_store_in_one_graph(forms, table_for, row_format):
    config = replace(forms["v41"], embedding_dim=32)
    rows = np.random.default_rng(0).integers(0, 120, (2, 11, config.num_columns, row_bytes(row_format, 32)), np.uint8)
    module = EngramModule(config, memory=table_for(config, row_format))
    hidden_states = torch.randn(2, 11, 2, 8)

    compiled = torch.compile(module, fullgraph=True, backend="eager")

    assert torch.equal(
        compiled(hidden_states, memory_embeddings=torch.from_numpy(rows))[0],
        module(hidden_states, memory_embeddings=rows)[0],
    )


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
def test_a_stream_goes_on_where_it_is_compiled_and_where_it_is_not(config, make_module, hidden_states, input_ids):
    module, state = make_module(config), EngramState()
    compiled = torch.compile(module, fullgraph=True, backend="eager")

    results = []
    for t in range(11):
        layer = module if t % 3 == 2 else compiled
        results.append(layer(hidden_states[:, t : t + 1], input_ids[:, t : t + 1], state=state)[0])

    whole, _ = module(hidden_states, input_ids)
    torch.testing.assert_close(torch.cat(results, dim=1), whole, rtol=1e-6, atol=1e-6)

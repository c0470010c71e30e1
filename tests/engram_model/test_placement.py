"""Where a layer and its table are: sizes, moves, copies, and starting on the meta device."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from engram_model import EngramModule


def test_memory_stats_of_a_local_table_count_the_table(config):
    module = EngramModule(config)
    for parameter in module.gate.parameters():
        parameter.requires_grad = False

    stats = module.get_memory_stats()

    rows = module.hasher.num_rows[0]
    weights = 3 * 8 * 16 + 3 * 8 + 2 * 2 * 8 + 4 * 2 * 8 + 2 * 8  # projections, biases, gate norms, taps, norm
    frozen = 2 * 8 * 16 + 2 * 8 + 2 * 2 * 8
    assert stats == {
        "embedding_tables_gb": rows * 4 * 4 / 2**30,
        "total_params_m": (rows * 4 + weights) / 1e6,
        "trainable_params_m": (rows * 4 + weights - frozen) / 1e6,
        "embedding_table_size": (11, 13),
        "num_tables": 4,
    }


def test_an_offloaded_table_gives_the_bits_of_one_that_is_not(config, make_module, hidden_states, input_ids):
    module = make_module(config)
    expected, _ = module(hidden_states, input_ids)

    module.offload_to_cpu()

    assert torch.equal(module(hidden_states, input_ids)[0], expected)


def test_rows_of_an_offloaded_table_go_where_the_layer_is(config, make_module, input_ids):
    module = make_module(config)

    module.gate.to("meta")
    module.value_proj.to("meta")

    assert module.memory.table.weight.device.type == "cpu"
    assert module.prefetch_embeddings(input_ids).wait().device.type == "meta"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to load to")
def test_loading_to_a_gpu_that_is_not_there_is_refused(config):
    with pytest.raises(RuntimeError, match="cannot be loaded to cuda:0: torch sees no CUDA device"):
        EngramModule(config).load_to_gpu("cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_table_goes_to_the_cpu_and_back_under_a_layer_on_a_gpu(config, make_module, hidden_states, input_ids):
    module = make_module(config).to("cuda")
    hidden_states, input_ids = hidden_states.to("cuda"), input_ids.to("cuda")
    expected, _ = module(hidden_states, input_ids)

    module.offload_to_cpu()
    offloaded = module(hidden_states, input_ids)[0]
    module.load_to_gpu("cuda")

    assert torch.equal(offloaded, expected)
    assert module.memory.table.weight.device.type == "cuda"
    assert torch.equal(module(hidden_states, input_ids)[0], expected)


def test_a_table_in_a_store_stays_there(config, make_module, store_of, hidden_states, input_ids):
    remote = EngramModule(config, memory=store_of(make_module(config)))
    expected, _ = remote(hidden_states, input_ids)

    remote.offload_to_cpu()

    assert torch.equal(remote(hidden_states, input_ids)[0], expected)


def test_a_layer_that_started_on_the_meta_device_hashes_as_any_other(config, make_module, hidden_states, input_ids):
    module = make_module(config)
    with torch.device("meta"):
        emptied, assigned = EngramModule(config), EngramModule(config)

    emptied.to_empty(device="cpu").load_state_dict(module.state_dict())
    assigned.load_state_dict(module.state_dict(), assign=True)

    expected, _ = module(hidden_states, input_ids)
    rows = torch.from_numpy(module.row_ids(input_ids))
    for layer in (emptied, assigned):
        assert torch.equal(layer.addressing.device_rows(input_ids, None, None, None)[0], rows)
        assert torch.equal(layer(hidden_states, input_ids)[0], expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])  # noqa: S301
def test_a_copy_gives_the_same_bits(config, make_module, hidden_states, input_ids, copied):
    module = make_module(config)

    assert torch.equal(copied(module)(hidden_states, input_ids)[0], module(hidden_states, input_ids)[0])

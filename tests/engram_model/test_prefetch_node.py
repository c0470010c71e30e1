"""Prefetching through a real memory node gives the bits of tables in the model."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.processes import node_process
from support.tables import write_table

import engram_client
from engram_model import EngramConfig, EngramModule, EngramState, Prefetcher, PrefetchSettings, TransformerWithEngram

LAYERS = (0, 2)


@pytest.fixture(scope="module")
def config():
    small = {"vocab_size": 50, "embedding_table_size": 101, "embedding_dim": 32, "hidden_dim": 16, "num_hash_heads": 2}
    return replace(EngramConfig.official_demo(), num_branches=2, layer_ids=LAYERS, **small)


@pytest.fixture(scope="module")
def local(config):
    torch.manual_seed(5)
    return TransformerWithEngram(config, num_blocks=3, num_heads=2)


@pytest.fixture(scope="module")
def store(local, tmp_path_factory):
    root = tmp_path_factory.mktemp("prefetch") / "root"
    for layer in LAYERS:
        module = local.engram(layer)
        rows = module.memory.table.weight.detach().view(torch.uint8).numpy()
        fingerprint = module.hasher.fingerprint(layer)
        write_table(root, f"layer-{layer}", rows, row_format="float32", fingerprint=fingerprint)
    with node_process(root) as node, engram_client.connect_blocking(node.url) as store:
        yield store


@pytest.fixture(scope="module")
def remote(config, local, store):
    memories = {layer: store.table(f"layer-{layer}") for layer in LAYERS}
    remote = TransformerWithEngram(config, num_blocks=3, num_heads=2, memories=memories)
    remote.load_state_dict({name: value for name, value in local.state_dict().items() if ".memory." not in name})
    return remote


@torch.no_grad()
def test_a_decoder_gives_the_bits_of_one_with_tables_of_its_own(local, remote):
    for shape in [(1, 64), (3, 7), (3, 1), (1, 0)]:
        input_ids = torch.randint(0, 50, shape)

        assert torch.equal(remote(input_ids).hidden_states, local(input_ids).hidden_states)
    assert remote.prefetcher.stats().ring.in_use == 0


@torch.no_grad()
def test_pieces_with_discarded_guesses_give_the_bits_of_local_layers(local, remote):
    modules = {layer: remote.engram(layer) for layer in LAYERS}
    prefetcher = Prefetcher(modules.values())
    states, own_states = ({layer: EngramState() for layer in LAYERS} for _ in range(2))

    for length in (9, 1, 1, 4, 1):
        input_ids, guess = torch.randint(0, 50, (4, length)), torch.randint(0, 50, (4, 3))
        marks = {layer: copy.copy(state) for layer, state in states.items()}
        prefetcher.prefetch(guess, states=states).discard()
        states = marks
        pending = prefetcher.prefetch(input_ids, states=states)
        for layer in LAYERS:
            hidden_states = torch.randn(4, length, 2, 16)
            updated, _ = modules[layer](hidden_states, memory_embeddings=pending[layer], state=states[layer])
            expected, _ = local.engram(layer)(hidden_states, input_ids, state=own_states[layer])
            assert torch.equal(updated, expected)


@torch.no_grad()
@pytest.mark.parametrize("columns", [None, (1, 2, 3)])
def test_each_ngram_asked_for_once_gives_the_same_rows(local, remote, columns):
    modules = [remote.engram(layer) for layer in LAYERS]
    settings = PrefetchSettings(deduplicate="always")
    prefetcher = Prefetcher(modules, columns=columns, settings=settings)
    input_ids = torch.randint(0, 5, (4, 200))

    with prefetcher.prefetch(input_ids) as pending:
        for layer in LAYERS:
            table = local.engram(layer).memory.table.weight.detach().numpy()
            rows = local.engram(layer).row_ids(input_ids)
            owned = rows if columns is None else rows[..., list(columns)]
            assert np.array_equal(pending[layer].wait().unflatten(-1, (-1, 32)).numpy(), table[owned])
    stats = prefetcher.stats().layers[0]
    assert stats.sent_rows < stats.rows / 2


@torch.no_grad()
def test_ranks_share_the_fetches_of_a_node(local, remote):
    modules: list[EngramModule] = [remote.engram(layer) for layer in LAYERS]
    prefetchers = Prefetcher.for_ranks([modules, modules], columns=[(0, 3), (1, 2)])
    input_ids = torch.randint(0, 50, (2, 9))

    for columns, prefetcher in zip([(0, 3), (1, 2)], prefetchers, strict=True):
        pending = prefetcher.prefetch(input_ids)
        for layer in LAYERS:
            whole = local.engram(layer).prefetch_embeddings(input_ids).wait().unflatten(-1, (4, 32))
            assert torch.equal(pending[layer].wait(), whole[..., list(columns), :].flatten(-2))

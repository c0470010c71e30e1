"""The presets: what they imply, as plain numbers, without a byte of their tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engram_model import EngramConfig, EngramModule

CONFIGS = {
    "official_demo": EngramConfig.official_demo(),
    "paper_27b": EngramConfig.paper_27b(),
    "paper_40b": EngramConfig.paper_40b(),
    "deepseek_v41_flash": EngramConfig.deepseek_v41_flash(),
}
ROWS = {
    "official_demo": {1: 10_344_164, 15: 10_348_242},
    "deepseek_v41_flash": {1: 384_006_168, 14: 384_016_682},
}
MEMORY_PARAMETERS = {"paper_27b": 5.79e9, "paper_40b": 18.53e9, "deepseek_v41_flash": 196.6e9}


def made(config, **options):
    """A module with any token map of the lengths that the preset asks for."""
    size = config.compressed_vocab_size or config.vocab_size
    return EngramModule(config, token_map=np.arange(config.vocab_size) % size, **options)


def meta_layers(config):
    with torch.device("meta"):
        return {layer: made(config, layer_id=layer) for layer in config.layer_ids}


@pytest.mark.parametrize("name", ROWS)
def test_a_presets_tables_have_the_rows_of_the_published_ones(name):
    layers = meta_layers(CONFIGS[name])

    assert {layer: len(module.memory.table.weight) for layer, module in layers.items()} == ROWS[name]


@pytest.mark.parametrize("name", MEMORY_PARAMETERS)
def test_a_presets_tables_have_the_parameters_of_the_published_ones(name):
    layers = meta_layers(CONFIGS[name])

    parameters = sum(module.memory.table.weight.numel() for module in layers.values())
    assert parameters == pytest.approx(MEMORY_PARAMETERS[name], rel=1e-3)


def test_the_parameters_of_v41_are_exactly_those_of_its_checkpoint():
    module = meta_layers(CONFIGS["deepseek_v41_flash"])[1]

    parameters = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    assert parameters == {
        "memory.table.weight": (384_006_168, 256),
        "gate.key_proj.weight": (4 * 5120, 6144),
        "gate.key_norm_weight": (4, 5120),
        "gate.query_norm_weight": (4, 5120),
        "value_proj.weight": (5120, 6144),
    }


def test_a_row_of_the_paper_is_80_wide_and_a_token_reads_1280_numbers():
    for config in (CONFIGS["paper_27b"], CONFIGS["paper_40b"]):
        assert (config.embedding_dim, config.memory_dim, config.layer_ids) == (80, 1280, (1, 14))
        assert (config.hidden_dim, config.num_branches, config.dilation) == (2560, 4, 3)


def test_a_preset_of_any_size_is_made_on_a_table_of_a_store(table_for):
    table = table_for(CONFIGS["deepseek_v41_flash"], "float8_e4m3+e8m0/32")

    with torch.device("meta"):
        module = made(CONFIGS["deepseek_v41_flash"], memory=table)

    assert (table.num_rows, table.row_bytes) == (384_006_168, 264)
    assert module.get_memory_stats() == {
        "embedding_tables_gb": 384_006_168 * 264 / 2**30,
        "total_params_m": (25_600 * 6144 + 2 * 4 * 5120) / 1e6,
        "trainable_params_m": (25_600 * 6144 + 2 * 4 * 5120) / 1e6,
        "embedding_table_size": 16_000_000,
        "num_tables": 24,
    }


def test_a_preset_of_any_size_is_not_made_with_a_table_of_its_own():
    with pytest.raises(ValueError, match="takes 393222316032 bytes, max_local_bytes is 4294967296: pass memory="):
        made(replace(CONFIGS["deepseek_v41_flash"], hidden_dim=8))


def test_v41_is_not_made_without_the_token_map_of_its_tokenizer(table_for):
    config = replace(CONFIGS["deepseek_v41_flash"], embedding_table_size=11, embedding_dim=32, hidden_dim=8)
    table = table_for(config, "float8_e4m3+e8m0/32")

    for memory in (None, table):
        with pytest.raises(ValueError, match=r"99092 compressed ids, got none: .*compress_vocabulary .*load_token_map"):
            EngramModule(config, memory=memory)
        with pytest.raises(ValueError, match=r"99092 compressed ids, got one that reaches 98627"):
            EngramModule(config, token_map=np.arange(129_280) % 98_627, memory=memory)
    assert made(config, memory=table).hasher.compressed_size == 99_092
    assert EngramModule(replace(config, compressed_vocab_size=None)).hasher.compressed_size == 129_280


def test_the_papers_convolution_starts_as_nothing_and_the_others_do_not():
    small = {"embedding_table_size": 11, "hidden_dim": 64}

    paper = EngramModule(replace(CONFIGS["paper_27b"], **small)).short_conv.taps
    demo = EngramModule(replace(CONFIGS["official_demo"], **small)).short_conv.taps
    study = EngramModule(EngramConfig.study(**small, vocab_size=50)).short_conv.taps

    assert not paper.any()
    assert 0.25 < demo.std() < 0.33  # uniform up to 1 / sqrt(4), as torch.nn.Conv1d
    assert demo.abs().max() <= 0.5
    assert 0.015 < study.std() < 0.025


def test_a_study_table_starts_small_and_the_others_as_standard_normal_numbers():
    study = EngramModule(EngramConfig.study(vocab_size=50, embedding_table_size=1000, hidden_dim=8))
    demo = EngramModule(replace(CONFIGS["official_demo"], embedding_table_size=1000, hidden_dim=8))

    assert study.memory.table.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert demo.memory.table.weight.std().item() == pytest.approx(1.0, rel=0.05)

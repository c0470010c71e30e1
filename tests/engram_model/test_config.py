"""The settings of the layer: what they imply and what they refuse."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from engram_model import EngramConfig


def test_the_demo_preset_is_deepseeks_configuration():
    config = EngramConfig.official_demo()

    assert (config.num_columns, config.memory_dim, config.dilation) == (16, 1024, 3)
    assert config.hash_spec.vocab_sizes == (646_400, 646_400)
    assert config.layer_ids == (1, 15)


def test_one_table_size_stands_for_every_order(config):
    assert replace(config, max_n=4, embedding_table_size=1000).table_sizes == (1000, 1000, 1000)


def test_sequences_are_kept_as_tuples_of_plain_integers(config):
    changed = replace(config, layer_ids=np.array([3, 1]), embedding_table_size=[11, 13])

    assert changed.layer_ids == (3, 1)
    assert changed.embedding_table_size == (11, 13)
    assert hash(changed) == hash(replace(changed))


def test_a_configuration_does_not_change(config):
    with pytest.raises(FrozenInstanceError):
        config.max_n = 4


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("min_n", 1, "min_n must be 2, got 1"),
        ("min_n", 3, "min_n must be 2, got 3"),
        ("max_n", 1, "max_n must be an integer of at least 2, got 1"),
        ("max_n", 4, "3 orders, got 2"),
        ("vocab_size", 0, "vocab_size must be an integer of at least 1, got 0"),
        ("num_hash_heads", 1.5, "num_hash_heads must be an integer of at least 1, got 1.5"),
        ("embedding_table_size", (11, 0), "embedding_table_size must be an integer of at least 1, got 0"),
        ("embedding_table_size", 1e6, "embedding_table_size must be made of integers, got 1000000.0"),
        ("embedding_dim", -4, "embedding_dim must be an integer of at least 1, got -4"),
        ("hidden_dim", "8", "hidden_dim must be an integer of at least 1, got '8'"),
        ("layer_ids", (), "at least one"),
        ("layer_ids", (1, 1), "distinct"),
        ("layer_ids", (-1, 1), "layer_ids must be an integer of at least 0, got -1"),
        ("num_branches", 0, "num_branches must be an integer of at least 1, got 0"),
        ("compressed_vocab_size", 0, "compressed_vocab_size must be an integer of at least 1, got 0"),
        ("compressed_vocab_size", 51, "must be at most vocab_size 50, or None for any token map, got 51"),
        ("pad_id", 50, "pad_id must be below vocab_size 50, got 50"),
        ("pad_id", -1, "pad_id must be an integer of at least 0, got -1"),
        ("seed", -1, "seed must be an integer of at least 0, got -1"),
        ("conv_kernel_size", 0, "conv_kernel_size must be an integer of at least 1, got 0"),
        ("conv_dilation", 0, "conv_dilation must be an integer of at least 1, got 0"),
        ("gate_norm_eps", 0.0, "gate_norm_eps must lie between 0 and 1, got 0.0"),
        ("conv_norm_eps", -1e-5, "conv_norm_eps must lie between 0 and 1, got -1e-05"),
        ("sign_of_zero", 2, r"sign_of_zero must be one of \(0, 1\), got 2"),
        ("gate", "open", r"gate must be one of \('product', 'linear'\), got 'open'"),
        ("combine", "mean", "combine must be one of .*, got 'mean'"),
        ("hash_family", "md5", "hash_family must be one of .*, got 'md5'"),
        ("row_multiple", 0, "row_multiple must be an integer of at least 1, got 0"),
        ("table_init_std", -0.1, "table_init_std must be at least 0, got -0.1"),
        ("conv_init_std", float("inf"), "conv_init_std must be at least 0, got inf"),
        ("max_local_bytes", -1, "max_local_bytes must be an integer of at least 0, got -1"),
    ],
)
def test_a_value_outside_its_limits_is_refused_by_name(config, field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **{field: value})


def test_the_study_hash_refuses_what_it_has_no_place_for():
    config = EngramConfig.study()

    for changes, message in [
        ({"pad_id": 2}, "pads with 0 and has no seed: pad_id and seed must be 0, got 2 and 0"),
        ({"seed": 1}, "pad_id and seed must be 0, got 0 and 1"),
        ({"embedding_table_size": (10, 10, 11)}, r"one embedding_table_size for all orders, got \(10, 10, 11\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(config, **changes)
    with pytest.raises(ValueError, match="hash_spec is for the official hash, hash_family is 'study'"):
        _ = config.hash_spec

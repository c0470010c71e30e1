"""The models that `plan` knows, against the models' own settings."""

from __future__ import annotations

import numpy as np
import pytest

from engram_client.formats import row_bytes
from engram_client.hashing import NgramHasher
from engram_model import EngramConfig
from store_server.commands.plan.presets import PRESETS

CONFIGS = {
    "v41-flash": (EngramConfig.deepseek_v41_flash(), "float8_e4m3+e8m0/32"),
    "paper-27b": (EngramConfig.paper_27b(), "bfloat16"),
    "paper-40b": (EngramConfig.paper_40b(), "bfloat16"),
    "official-demo": (EngramConfig.official_demo(), "bfloat16"),
    "academic": (EngramConfig.academic(), "bfloat16"),
    "study": (EngramConfig.study(), "bfloat16"),
}


def table_rows(config: EngramConfig) -> list[int]:
    if config.hash_family == "study":
        return [config.num_hash_heads * sum(config.table_sizes)] * len(config.layer_ids)
    hasher = NgramHasher(config.hash_spec, np.arange(config.compressed_vocab_size or config.vocab_size))
    return [hasher.num_rows[layer] for layer in config.layer_ids]


def test_every_known_model_has_settings() -> None:
    assert PRESETS.keys() == CONFIGS.keys()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_known_model_is_as_its_settings_say(name: str) -> None:
    config, row_format = CONFIGS[name]
    model, rows = PRESETS[name], table_rows(config)

    assert model.num_tables == len(config.layer_ids)
    assert model.rows_a_token == len(config.layer_ids) * config.num_columns
    assert model.row_bytes == row_bytes(row_format, config.embedding_dim)
    assert model.table_bytes == sum(rows) * model.row_bytes

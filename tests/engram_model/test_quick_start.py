"""The quick start of the study implementation runs as printed, but for the name of the package."""

from __future__ import annotations

import torch

QUICK_START = """
from engram_model import EngramConfig, EngramModule

config = EngramConfig(vocab_size=50_000, min_n=2, max_n=4, num_hash_heads=4,
                      embedding_table_size=1_000_000, embedding_dim=64, hidden_dim=2048)
engram = EngramModule(config)
updated, gating = engram(hidden_states=h, input_ids=ids, return_gating=True)
memory = engram.prefetch_embeddings(ids)
again, nothing = engram(hidden_states=h, memory_embeddings=memory)
"""
WHAT_FOLLOWS = """
from engram_model import EngramTransformerLayer

indices = engram.compute_indices(ids)
stats = engram.get_memory_stats()
engram.offload_to_cpu()
layer = EngramTransformerLayer(hidden_dim=2048, num_heads=16, ffn_dim=64, engram_config=config).eval()
behind = layer(h, input_ids=ids)
"""
SMALLER = {"1_000_000": "100", "2048": "32"}


def run(lines, ids, h):
    names = {"ids": ids, "h": h}
    exec(lines, names)  # noqa: S102  a reader would type them
    return names


def test_the_quick_start_runs_as_printed():
    with torch.device("meta"):  # where its 3 GB of tables take no memory
        names = run(QUICK_START, torch.zeros(2, 7, dtype=torch.int64), torch.zeros(2, 7, 2048))

    assert names["config"].memory_dim == 768
    assert (names["updated"].shape, names["gating"].shape, names["nothing"]) == ((2, 7, 2048), (2, 7, 1), None)
    assert names["memory"].wait().shape == (2, 7, 768)


def test_the_quick_start_gives_numbers_with_a_smaller_table():
    lines = QUICK_START + WHAT_FOLLOWS
    for printed, smaller in SMALLER.items():
        assert printed in lines
        lines = lines.replace(printed, smaller)
    h = torch.randn(2, 7, 32)

    names = run(lines, torch.randint(0, 50_000, (2, 7)), h)

    assert torch.equal(names["again"], names["updated"])
    assert not torch.equal(names["updated"], h)
    assert {order: tuple(part.shape) for order, part in names["indices"].items()} == dict.fromkeys((2, 3, 4), (2, 7, 4))
    assert (names["stats"]["embedding_table_size"], names["stats"]["num_tables"]) == (100, 12)
    assert (names["behind"].shape, bool(names["behind"].isfinite().all())) == ((2, 7, 32), True)

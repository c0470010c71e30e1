"""Weights by the names of DeepSeek-V4.1 and of the study module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.row_formats import e4m3, e8m0

from engram_model import EngramConfig, EngramModule


@pytest.fixture
def v41():
    """A layer of 2 branches, 40 wide, that reads 6 rows of 32: sizes of which one is no multiple of a block's side."""
    small = {"vocab_size": 50, "num_hash_heads": 2, "embedding_table_size": 11, "embedding_dim": 32, "hidden_dim": 40}
    return replace(EngramConfig.deepseek_v41_flash(), compressed_vocab_size=None, num_branches=2, **small)


@pytest.fixture
def v41_state(v41):
    """What a checkpoint holds for the layer: wkv and the table in float8, scales as bytes."""
    num_rows = EngramModule(v41).hasher.num_rows[1]

    def float8(shape):
        return torch.randint(0, 127, shape, dtype=torch.uint8).view(torch.float8_e4m3fn)

    def scales(shape):
        return torch.randint(110, 130, shape, dtype=torch.uint8)

    return {
        "wkv.weight": float8((3 * 40, 6 * 32)),
        "wkv.scale": scales((4, 6)),
        "q_weight": torch.randn(2, 40).bfloat16(),
        "k_weight": torch.randn(2, 40).bfloat16(),
        "embed.weight": float8((num_rows, 32)),
        "embed.scale": scales((num_rows, 1)),
    }


@pytest.fixture
def study_state(forms):
    module = EngramModule(forms["study"])
    state = {
        "gating.W_K.0.weight": torch.randn(8, 24),
        "gating.W_V.weight": torch.randn(8, 24),
        "gating.norm.weight": torch.randn(8),
        "fusion.norm.weight": torch.randn(8),
        "fusion.conv.conv.weight": torch.randn(8, 1, 3),
        "hasher.hash_bases": torch.tensor([31, 131]),
        "hasher.hash_moduli": torch.tensor([11, 1013]),
    }
    names = [f"embedding_table.embeddings.E_{order}_{head}.weight" for order in (2, 3, 4) for head in (0, 1)]
    assert len(module.memory.table.weight) == 6 * 11
    return state | {name: torch.randn(11, 4) for name in names}


def dequantized(state, name, block):
    weight, scale = state[f"{name}.weight"].view(torch.uint8).tolist(), state[f"{name}.scale"].tolist()
    return np.array(
        [
            [e4m3(byte) * e8m0(scale[row // block[0]][column // block[1]]) for column, byte in enumerate(line)]
            for row, line in enumerate(weight)
        ]
    )


def assert_refused_whole(module, state, message):
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        module.load_reference_state(state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("scale_dtype", ["uint8", "float8_e8m0fnu"])
def test_float8_weights_are_multiplied_by_the_scales_of_their_blocks(v41, v41_state, scale_dtype):
    if not hasattr(torch, scale_dtype):
        pytest.skip("this torch has no E8M0")
    module = EngramModule(v41)
    scales = {name: tensor.view(getattr(torch, scale_dtype)) for name, tensor in v41_state.items() if "scale" in name}

    module.load_reference_state(v41_state | scales)

    own = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    wkv = dequantized(v41_state, "wkv", (32, 32))
    assert np.array_equal(own["gate.key_proj.weight"], wkv[:80])
    assert np.array_equal(own["value_proj.weight"], wkv[80:])
    assert np.array_equal(own["memory.table.weight"], dequantized(v41_state, "embed", (1, 32)))
    assert np.array_equal(own["gate.query_norm_weight"], v41_state["q_weight"].float().numpy())
    assert np.array_equal(own["gate.key_norm_weight"], v41_state["k_weight"].float().numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_v41_state_of_plain_numbers_without_table_is_taken(v41, v41_state, dtype):
    module = EngramModule(v41)
    table = module.memory.table.weight.clone()
    plain = {name: v41_state[name] for name in ("q_weight", "k_weight")} | {
        "wkv.weight": torch.randn(120, 192).to(dtype)
    }

    module.load_reference_state(plain)

    assert torch.equal(module.value_proj.weight, plain["wkv.weight"][80:].float())
    assert torch.equal(module.memory.table.weight, table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wkv.scale": None}, r"missing \['wkv.scale'\], unknown \[\]"),
        ({"embed.scale": None}, r"missing \['embed.scale'\], unknown \[\]"),
        ({"embed.weight": None}, r"missing \[\], unknown \['embed.scale'\]"),
        ({"wkv.weight": torch.zeros(120, 192)}, r"missing \[\], unknown \['wkv.scale'\]"),
        ({"wkv.bias": torch.zeros(120)}, r"unknown \['wkv.bias'\]"),
        ({"k_weight": torch.zeros(4, 40)}, r"k_weight must be of shape \(2, 40\), got \(4, 40\)"),
        (
            {"wkv.weight": torch.ones(120, 192, dtype=torch.uint8)},
            r"wkv.weight must be one of .*e4m3fn.* got torch.uint8",
        ),
        ({"wkv.weight": torch.ones(120, 192).to(torch.float8_e5m2)}, r"wkv.weight must be .* got torch.float8_e5m2"),
        ({"embed.weight": torch.ones(66, 32, dtype=torch.int8)}, r"embed.weight must be one of .* got torch.int8"),
        ({"q_weight": torch.ones(2, 40, dtype=torch.complex64)}, r"q_weight must be one of .* got torch.complex64"),
        (
            {"k_weight": torch.ones(2, 40).to(torch.float8_e4m3fn)},
            r"k_weight must be one of .* got torch.float8_e4m3fn",
        ),
        ({"wkv.scale": torch.ones(4, 6)}, r"wkv.scale must be one of .*uint8.* got torch.float32"),
        ({"wkv.scale": torch.zeros(3, 6, dtype=torch.uint8)}, r"wkv.scale must be of shape \(4, 6\), got \(3, 6\)"),
    ],
)
def test_a_v41_state_that_does_not_fit_is_refused_whole(v41, v41_state, changes, message):
    state = {name: tensor for name, tensor in (v41_state | changes).items() if tensor is not None}

    assert_refused_whole(EngramModule(v41), state, message)


def test_a_family_is_known_by_any_of_its_names(forms, v41, v41_state, study_state):
    del v41_state["wkv.weight"], v41_state["wkv.scale"]
    of_study = {name: tensor for name, tensor in study_state.items() if not name.startswith("gating.")}

    assert_refused_whole(
        EngramModule(v41), v41_state, r"names of DeepSeek-V4.1 in .* missing \['wkv.weight'\], unknown \[\]"
    )
    missing = (
        r"names of the study module in .* missing \['gating.W_K.0.weight', 'gating.W_V.weight', 'gating.norm.weight'\]"
    )
    assert_refused_whole(EngramModule(forms["study"]), of_study, missing + r", unknown \[\]")
    with_a_stranger = study_state | {"wkv.weight": torch.zeros(1)}
    assert_refused_whole(EngramModule(forms["study"]), with_a_stranger, r"missing \[\], unknown \['wkv.weight'\]")
    assert_refused_whole(
        EngramModule(forms["demo"]), {"norm1.0.weight": torch.ones(8)}, "names of the demonstration program"
    )


def test_a_state_of_no_known_name_is_refused(v41, v41_state):
    prefixed = {f"engram.{name}": tensor for name, tensor in v41_state.items()}

    assert_refused_whole(EngramModule(v41), prefixed, r"no name of .* without a prefix; got \['engram.embed.scale', ")
    assert_refused_whole(EngramModule(v41), {}, r"no name of .* got \[\]")


def test_what_is_no_tensor_is_refused_before_anything_is_loaded(v41, v41_state):
    module = EngramModule(v41)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    for name, value in {"wkv.weight": np.zeros((120, 192)), "wkv.scale": [1], "k_weight": np.zeros((2, 40))}.items():
        with pytest.raises(TypeError, match=rf"{name} must be a tensor, got (ndarray|list)"):
            module.load_reference_state(v41_state | {name: value})
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_state_of_another_form_is_refused_whole(forms, v41, v41_state, study_state):
    with_bias = EngramModule(replace(v41, bias=True))

    assert_refused_whole(with_bias, v41_state, r"names of DeepSeek-V4.1 are for .*gate.key_proj.bias")
    assert_refused_whole(EngramModule(v41), study_state, "are for a layer of one branch, got 2")
    with_norms = EngramModule(replace(forms["study"], gate_norm_weights=True))
    assert_refused_whole(with_norms, study_state, r"names of the study module are for .*gate.key_norm_weight")


def test_a_study_state_goes_to_its_places(forms, study_state):
    module = EngramModule(forms["study"])

    module.load_reference_state(study_state)

    own = module.state_dict()
    assert torch.equal(own["gate.key_proj.weight"], study_state["gating.W_K.0.weight"])
    assert torch.equal(own["value_proj.weight"], study_state["gating.W_V.weight"])
    assert torch.equal(own["short_conv.norm.weight"][0], study_state["fusion.norm.weight"])
    assert torch.equal(own["short_conv.taps"][:, 0], study_state["fusion.conv.conv.weight"][:, 0].T)
    column = 2 * 1 + 1  # order 3, head 1
    table = own["memory.table.weight"][column * 11 : (column + 1) * 11]
    assert torch.equal(table, study_state["embedding_table.embeddings.E_3_1.weight"])


def test_the_study_tables_and_the_numbers_of_the_hash_may_be_absent(forms, study_state):
    module = EngramModule(forms["study"])
    table = module.memory.table.weight.clone()
    kept = {name: tensor for name, tensor in study_state.items() if name.startswith(("gating", "fusion"))}

    module.load_reference_state(kept)

    assert torch.equal(module.memory.table.weight, table)
    assert torch.equal(module.value_proj.weight, study_state["gating.W_V.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_table.embeddings.E_4_1.weight": None}, r"missing \['embedding_table.embeddings.E_4_1.weight'\]"),
        ({"embedding_table.embeddings.E_5_0.weight": torch.zeros(11, 4)}, "unknown .*E_5_0"),
        ({"hasher.hash_moduli": torch.tensor([11, 1019])}, r"hash_moduli must be \[11, 1013\].* got \[11, 1019\]"),
        ({"gating.norm.weight": torch.zeros(9)}, r"gating.norm.weight must be of shape \(8,\), got \(9,\)"),
        ({"gating.W_V.weight": torch.ones(8, 24, dtype=torch.uint8)}, r"gating.W_V.weight must be .* got torch.uint8"),
        ({"embedding_table.embeddings.E_2_0.weight": torch.ones(11, 4).char()}, r"E_2_0.weight must be .*torch.int8"),
        ({"fusion.norm.weight": None}, r"missing \['fusion.norm.weight'\]"),
    ],
)
def test_a_study_state_that_does_not_fit_is_refused_whole(forms, study_state, changes, message):
    state = {name: tensor for name, tensor in (study_state | changes).items() if tensor is not None}

    assert_refused_whole(EngramModule(forms["study"]), state, message)

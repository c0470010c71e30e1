"""Made-up checkpoints: their rows by a formula that is written down here once more, and the layout of the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
from numpy.typing import NDArray

from store_server.storage import InvalidTableSpec, StorageError
from store_server.storage.checkpoint import SyntheticCheckpoint, synthetic_rows, write_checkpoint
from store_server.storage.checkpoint.landmarks import landmark_rows

MASK = (1 << 64) - 1
FULL = SyntheticCheckpoint(scale=1)


def literal_row(row: int, layer: int) -> bytes:
    """The formula in Python's own integers."""
    content = b""
    for k in range(33):
        z = (layer * 0xD1B54A32D192ED03 + row * 0x9E3779B97F4A7C15 + k * 0x8CB92BA72F3D8DD7) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        content += (z ^ (z >> 31)).to_bytes(8, "little")
    weights = bytes(byte - 1 if byte & 0x7F == 0x7F else byte for byte in content[:256])
    return weights + bytes(112 + (byte & 15) for byte in content[256:])


@pytest.fixture(params=[1e-5, 3e-5])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[SyntheticCheckpoint, Path]:
    made_up = SyntheticCheckpoint(scale=request.param)
    write_checkpoint(tmp_path / "small", made_up)
    return made_up, tmp_path / "small"


def tensors_of(path: Path) -> dict[str, dict]:
    """All tensors as the reference library reads them."""
    return dict(safetensors.deserialize(path.read_bytes()))


def as_rows(tensor: dict) -> NDArray[np.uint8]:
    return np.frombuffer(tensor["data"], np.uint8).reshape(tensor["shape"])


@pytest.mark.parametrize("layer", [1, 14, 1 << 40])
def test_rows_follow_the_formula(layer: int) -> None:
    rows = [0, 1, 2**31 - 1, 2**31, 2**32, 384_016_681, 2**62]

    found = synthetic_rows(np.array(rows), layer, 256)

    assert [row.tobytes() for row in found] == [literal_row(row, layer) for row in rows]


def test_all_values_are_numbers() -> None:
    rows = synthetic_rows(np.arange(10_000), 1, 256)

    assert not ((rows[:, :256] & 0x7F) == 0x7F).any()
    assert (rows[:, 256:].min(), rows[:, 256:].max()) == (112, 127)


def test_the_reference_library_reads_the_files(small: tuple[SyntheticCheckpoint, Path]) -> None:
    made_up, directory = small
    for shard in made_up.shards():
        tensors = tensors_of(directory / shard.file_name)
        weight, scale = (tensors[f"layers.{shard.layer}.engram.embed.{name}"] for name in ("weight", "scale"))

        assert (weight["dtype"], weight["shape"]) == ("F8_E4M3", [shard.num_rows, 256])
        assert (scale["dtype"], scale["shape"]) == ("F8_E8M0", [shard.num_rows, 8])
        assert tensors[f"layers.{shard.layer}.engram.q_weight"]["shape"] == [4, 32]
        packed = np.concatenate([as_rows(weight), as_rows(scale)], axis=1)
        for row in (0, 1, shard.num_rows // 2, shard.num_rows - 1):
            assert packed[row].tobytes() == literal_row(row, shard.layer)


def test_the_index_names_every_tensor_of_both_files(small: tuple[SyntheticCheckpoint, Path]) -> None:
    index = json.loads((small[1] / "model.safetensors.index.json").read_text())

    assert set(index["weight_map"].values()) == {
        "model-00047-of-00048.safetensors",
        "model-00048-of-00048.safetensors",
    }
    assert index["weight_map"]["layers.14.engram.embed.scale"] == "model-00048-of-00048.safetensors"
    assert all(name in tensors_of(small[1] / file) for name, file in index["weight_map"].items())


def test_at_full_scale_the_config_is_that_of_v41() -> None:
    config = FULL.config()["text_config"]

    assert {key: value for key, value in config.items() if key.startswith("engram_")} == {
        "engram_layer_ids": [1, 14],
        "engram_num_embeddings": [384_006_168, 384_016_682],
        "engram_max_ngram_size": 4,
        "engram_vocab_size": 16_000_000,
        "engram_n_heads": 8,
        "engram_head_dim": 256,
        "engram_pad_token_id": 2,
        "engram_compressed_vocab_size": 99_092,
    }
    assert config["hidden_size"] == 5120


def test_at_full_scale_the_tensors_are_those_of_v41() -> None:
    first, second = FULL.shards()

    assert {name: (dtype, shape) for name, (dtype, shape, _) in first.tensors().items()} == {
        "layers.1.engram.embed.weight": ("F8_E4M3", (384_006_168, 256)),
        "layers.1.engram.embed.scale": ("F8_E8M0", (384_006_168, 8)),
        "layers.1.engram.wkv.weight": ("F8_E4M3", (25_600, 6_144)),
        "layers.1.engram.wkv.scale": ("F8_E8M0", (800, 192)),
        "layers.1.engram.q_weight": ("BF16", (4, 5_120)),
        "layers.1.engram.k_weight": ("BF16", (4, 5_120)),
    }
    tables = [
        shard.tensors()[f"layers.{shard.layer}.engram.embed.{name}"]
        for shard in (first, second)
        for name in ("weight", "scale")
    ]
    assert sum(num_bytes for _, _, num_bytes in tables) == pytest.approx(202.76e9, rel=1e-4)


def test_the_fusion_of_a_small_checkpoint_holds_numbers_and_one_scale_a_block(
    small: tuple[SyntheticCheckpoint, Path],
) -> None:
    made_up, directory = small
    for shard in made_up.shards():
        tensors = tensors_of(directory / shard.file_name)
        weight, scale = (tensors[f"layers.{shard.layer}.engram.wkv.{name}"] for name in ("weight", "scale"))

        assert (weight["dtype"], weight["shape"]) == ("F8_E4M3", [160, 6_144])
        assert (scale["dtype"], scale["shape"]) == ("F8_E8M0", [5, 192])
        expected = synthetic_rows(np.arange(160), (1 << 20) + shard.layer, 6_144)
        assert np.array_equal(as_rows(weight), expected[:, :6_144])
        assert np.array_equal(as_rows(scale), expected[::32, 6_144:])


def test_the_vocabulary_grows_with_the_tokenizer() -> None:
    made_up = SyntheticCheckpoint(scale=1, compressed_vocab_size=200_000)

    assert made_up.config()["text_config"]["vocab_size"] == 200_000


@pytest.mark.parametrize("step", [2**31, 2**32])
def test_a_full_size_sparse_file_has_rows_at_both_ends_and_on_both_sides_of_every_byte_border(step: int) -> None:
    for shard in FULL.shards():
        rows = set(shard.landmarks().tolist())
        offsets = shard.offsets()
        assert {0, 1, shard.num_rows - 2, shard.num_rows - 1} <= rows
        for name, width in (("weight", 256), ("scale", 8), (None, 264)):
            start = 0 if name is None else offsets[f"layers.{shard.layer}.engram.embed.{name}"]
            end = start + shard.num_rows * width
            in_table = {byte // width + side for byte in range(step, shard.num_rows * width, step) for side in (-1, 0)}
            in_file = {
                (byte + side - start) // width for byte in range(step, end, step) if byte > start for side in (-1, 0)
            }
            assert in_table or (name, step) == ("scale", 2**32)  # the scales of a layer are 3 GB
            assert in_table <= rows
            assert in_file <= rows


def test_borders_in_row_numbers_are_landmarks_of_tables_that_have_them() -> None:
    rows = landmark_rows(2**32 + 10, [(8, 1)])

    assert {2**31 - 1, 2**31, 2**32 - 1, 2**32} <= set(rows.tolist())


def test_a_sparse_checkpoint_has_the_full_size_real_landmarks_and_zeros_elsewhere(tmp_path: Path) -> None:
    made_up = SyntheticCheckpoint(scale=1e-3)
    write_checkpoint(tmp_path / "sparse", made_up, sparse=True)
    for shard in made_up.shards():
        path = tmp_path / "sparse" / shard.file_name
        weights = as_rows(tensors_of(path)[f"layers.{shard.layer}.engram.embed.weight"])
        real = shard.landmarks()

        assert path.stat().st_size == shard.num_bytes > 100e6
        assert path.stat().st_blocks * 512 < 4e6
        assert weights[real[5]].tobytes() == literal_row(int(real[5]), shard.layer)[:256]
        assert np.array_equal(np.flatnonzero(weights.any(axis=1)), real)


@pytest.mark.parametrize("scale", [0, -1, 1.1, float("nan"), 1e-9])
def test_a_scale_that_makes_no_table_is_refused(scale: float) -> None:
    with pytest.raises(InvalidTableSpec, match="scale"):
        SyntheticCheckpoint(scale=scale)


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("precious")

    with pytest.raises(StorageError, match="is not an empty directory"):
        write_checkpoint(tmp_path, SyntheticCheckpoint(scale=1e-5))

    assert list(tmp_path.iterdir()) == [tmp_path / "config.json"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_checkpoint(tmp_path / "new", SyntheticCheckpoint(scale=1e-5), tokenizer=tmp_path / "none.json")

    assert list(tmp_path.iterdir()) == []

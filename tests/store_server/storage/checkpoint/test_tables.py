"""A checkpoint is attached only when everything about it but the rows was checked."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tokenizer import COMPRESSED_SIZE, WORDS, write_tokenizer

from engram_client.hashing import NgramHasher
from store_server.storage import InvalidCheckpoint, InvalidSource
from store_server.storage.checkpoint import read_checkpoint, read_config

WEIGHT = "layers.1.engram.embed.weight"
SCALE = "layers.1.engram.embed.scale"
SHARD = "model-00047-of-00048.safetensors"
INDEX = "model.safetensors.index.json"


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def change_config(checkpoint: Path, **changes: object) -> None:
    """Set keys of the nested config; None removes one."""

    def change(config: dict[str, Any]) -> None:
        for key, value in changes.items():
            config["text_config"].pop(key, None)
            if value is not None:
                config["text_config"][key] = value

    change_json(checkpoint / "config.json", change)


def change_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a file's header, its data left as it is."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def move(entry: dict[str, Any], num_bytes: int) -> None:
    entry["data_offsets"] = [offset + num_bytes for offset in entry["data_offsets"]]


def flatten(config: dict[str, Any]) -> None:
    config.update(config.pop("text_config"))


def test_each_layer_is_a_table_of_packed_rows(checkpoint: Path) -> None:
    manifests = read_checkpoint(checkpoint).manifests

    assert list(manifests) == [1, 14]
    for layer, manifest in manifests.items():
        assert (manifest.row_bytes, manifest.row_format) == (264, "float8_e4m3+e8m0/32")
        assert [segment.row_bytes for segment in manifest.segments] == [256, 8]
        assert manifest.num_rows == read_config(checkpoint).num_rows[layer]


@pytest.mark.parametrize(
    "change",
    [
        flatten,
        lambda config: config.update(config["text_config"]),
        lambda config: config["text_config"].update(engram_pad_id=config["text_config"].pop("engram_pad_token_id")),
        lambda config: config["text_config"].update(engram_pad_id=2),
        lambda config: config["text_config"].update(engram_seed=0),
        lambda config: config["text_config"].update(engram_vocab_size=[160, 160, 160]),
    ],
    ids=["flat", "both", "old pad name", "both pad names", "seed", "a size an order"],
)
def test_a_config_may_be_written_in_several_ways(checkpoint: Path, change: Callable[[dict], None]) -> None:
    expected = read_config(checkpoint)

    change_json(checkpoint / "config.json", change)

    assert read_config(checkpoint) == expected


@pytest.mark.parametrize("prefix", ["model.", "model.language_model."])
def test_names_may_have_a_prefix(checkpoint: Path, prefix: str) -> None:
    def rename(names: dict[str, Any]) -> None:
        for name in [name for name in names if name.startswith("layers.")]:
            names[prefix + name] = names.pop(name)

    change_json(checkpoint / INDEX, lambda index: rename(index["weight_map"]))
    for path in checkpoint.glob("*.safetensors"):
        change_header(path, rename)

    assert read_checkpoint(checkpoint).manifests[1].segments[0].tensor == prefix + WEIGHT


def test_without_a_tokenizer_there_is_no_fingerprint_and_the_reason_is_said(checkpoint: Path) -> None:
    found = read_checkpoint(checkpoint)

    assert {manifest.fingerprint for manifest in found.manifests.values()} == {""}
    assert (
        "has no tokenizer.json; engram_compressed_vocab_size 99092 was taken from config.json" in found.unknown_hashing
    )


def test_with_a_tokenizer_the_tables_carry_the_fingerprint_of_their_hashing(checkpoint: Path) -> None:
    write_tokenizer(checkpoint / "tokenizer.json")
    change_config(checkpoint, engram_compressed_vocab_size=COMPRESSED_SIZE)

    found = read_checkpoint(checkpoint)

    hasher = NgramHasher(found.config.spec, np.array([0, 0, 1, 2, 2, 3]))
    assert found.unknown_hashing == ""
    assert {layer: manifest.fingerprint for layer, manifest in found.manifests.items()} == {
        layer: hasher.fingerprint(layer) for layer in (1, 14)
    }


def test_a_compressed_size_that_is_not_the_tokenizers_is_refused(checkpoint: Path) -> None:
    write_tokenizer(checkpoint / "tokenizer.json")

    with pytest.raises(InvalidCheckpoint) as caught:
        read_checkpoint(checkpoint)

    assert (caught.value.path, caught.value.key) == (checkpoint / "config.json", "engram_compressed_vocab_size")
    assert caught.value.found == 99_092
    assert f"{COMPRESSED_SIZE}, to which {checkpoint / 'tokenizer.json'} compresses" in str(caught.value)


def test_a_pad_id_beyond_the_tokenizer_is_refused(checkpoint: Path) -> None:
    write_tokenizer(checkpoint / "tokenizer.json")
    change_config(checkpoint, engram_compressed_vocab_size=COMPRESSED_SIZE, engram_pad_token_id=len(WORDS))

    with pytest.raises(InvalidCheckpoint, match=r"engram_pad_token_id: expected one of the 6 ids .* found 6"):
        read_checkpoint(checkpoint)


def test_a_tokenizer_that_is_none_is_refused(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").write_text("{}")

    with pytest.raises(InvalidCheckpoint, match=r"tokenizer\.json: file: expected a tokenizer"):
        read_checkpoint(checkpoint)


REQUIRED = (
    "engram_layer_ids",
    "engram_num_embeddings",
    "engram_max_ngram_size",
    "engram_vocab_size",
    "engram_n_heads",
    "engram_head_dim",
    "engram_pad_token_id",
    "engram_compressed_vocab_size",
)


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", [None, "2", 2.0, True, -1, [], [-1, 2], ["2", 3]], ids=repr)
def test_a_key_that_is_missing_or_makes_no_sense_is_named(checkpoint: Path, key: str, value: object) -> None:
    change_config(checkpoint, **{key: value})

    with pytest.raises(InvalidCheckpoint) as caught:
        read_config(checkpoint)

    assert (caught.value.path, caught.value.key) == (checkpoint / "config.json", key)
    assert repr(value) in str(caught.value) or "no such key" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (
            {"engram_num_embeddings": [5_000, 5_000]},
            "engram_num_embeddings",
            "expected .* rows for layer 1, the sum of",
        ),
        ({"engram_num_embeddings": [5_000]}, "engram_num_embeddings", r"each of the layers \[1, 14\], found \[5000\]"),
        ({"engram_layer_ids": [1, 1]}, "engram_layer_ids", "distinct"),
        ({"engram_vocab_size": 200}, "engram_num_embeddings", "the primes"),
        ({"engram_vocab_size": [160, 160]}, "engram_vocab_size", "3, got 2"),
        ({"engram_n_heads": 9}, "engram_num_embeddings", "the primes"),
        ({"engram_n_heads": 10**9}, "engram_n_heads", "at most 4096 heads"),
        ({"engram_n_heads": 2**63 - 1}, "engram_n_heads", "at most 4096 heads"),
        ({"engram_n_heads": 10**4000, "engram_max_ngram_size": 10**4000}, "engram_max_ngram_size", r"to 2\^63 - 1"),
        ({"engram_num_embeddings": [2**63, 1]}, "engram_num_embeddings", r"to 2\^63 - 1"),
        ({"engram_max_ngram_size": 3}, "engram_num_embeddings", "the primes"),
        ({"engram_max_ngram_size": 1}, "engram_max_ngram_size", "from 2 to .*, found 1"),
        ({"engram_head_dim": 250}, "engram_head_dim", "a multiple of 32, found 250"),
        ({"vocab_size": 99_091}, "engram_compressed_vocab_size", "at most 99091, vocab_size, found 99092"),
        ({"vocab_size": 129_280, "engram_pad_token_id": 129_280}, "engram_pad_token_id", "an id below 129280"),
        ({"vocab_size": "many"}, "vocab_size", "a whole number from 1"),
        (
            {"num_hidden_layers": 14},
            "engram_layer_ids",
            r"expected layers below 14, num_hidden_layers, found \[1, 14\]",
        ),
        ({"num_hidden_layers": 15.0}, "num_hidden_layers", "a whole number from 1"),
        ({"engram_pad_id": 3}, "engram_pad_token_id", "one value wherever it is given, 2, found 3"),
    ],
)
def test_keys_that_contradict_each_other_are_named(
    checkpoint: Path, changes: dict[str, object], key: str, message: str
) -> None:
    change_config(checkpoint, **changes)

    with pytest.raises(InvalidCheckpoint, match=message) as caught:
        read_config(checkpoint)

    assert key in caught.value.key


def test_a_key_given_twice_with_two_values_is_refused(checkpoint: Path) -> None:
    change_json(checkpoint / "config.json", lambda config: config.update(engram_n_heads=4))

    with pytest.raises(InvalidCheckpoint, match="engram_n_heads: expected one value wherever it is given, 8, found 4"):
        read_config(checkpoint)


def test_the_vocabulary_and_the_layers_of_the_text_model_are_those_that_count(checkpoint: Path) -> None:
    change_config(checkpoint, num_hidden_layers=15)
    change_json(checkpoint / "config.json", lambda config: config.update(vocab_size=100, num_hidden_layers=1))

    assert read_config(checkpoint).compressed_vocab_size == 99_092


def test_layers_in_another_order_than_the_tables_were_made_in_are_refused(checkpoint: Path) -> None:
    """The order decides which layer gets which primes; the sums in the config do not show it, the shapes do."""
    change_config(checkpoint, engram_layer_ids=[14, 1])

    with pytest.raises(InvalidCheckpoint, match=r"tensor 'layers\.14\.engram\.embed\.weight': expected F8_E4M3"):
        read_checkpoint(checkpoint)


def test_a_seed_is_honoured(checkpoint: Path) -> None:
    change_config(checkpoint, engram_seed=7)

    assert read_config(checkpoint).spec.seed == 7


@pytest.mark.parametrize("name", ["config.json", INDEX])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000])
def test_a_json_file_that_is_missing_or_none_is_named(checkpoint: Path, name: str, content: bytes | None) -> None:
    (checkpoint / name).unlink()
    if content is not None:
        (checkpoint / name).write_bytes(content)

    with pytest.raises(InvalidCheckpoint) as caught:
        read_checkpoint(checkpoint)

    assert caught.value.path == checkpoint / name


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda index: index.pop("weight_map"), "weight_map"),
        (lambda index: index.update(weight_map=[1]), "weight_map"),
        (lambda index: index["weight_map"].pop(WEIGHT), f"weight_map: {WEIGHT}"),
        (lambda index: index["weight_map"].pop(SCALE), f"weight_map: {SCALE}"),
        (lambda index: index["weight_map"].update({WEIGHT: 3}), f"weight_map: {WEIGHT}"),
        (
            lambda index: index["weight_map"].update({WEIGHT: "model-00001-of-00048.safetensors"}),
            f"weight_map: {WEIGHT}",
        ),
        (lambda index: index["weight_map"].update({WEIGHT: f"../checkpoint/{SHARD}"}), f"weight_map: {WEIGHT}"),
        (lambda index: index["weight_map"].update({WEIGHT: ""}), f"weight_map: {WEIGHT}"),
        (lambda index: index["weight_map"].update({WEIGHT: "\ud800"}), f"weight_map: {WEIGHT}"),
        (
            lambda index: index["weight_map"].update({"layers.5.engram.embed.weight": SHARD}),
            "layers.5.engram.embed.weight",
        ),
        (lambda index: index["weight_map"].update({f"model.{WEIGHT}": SHARD}), "weight_map"),
    ],
    ids=[
        "no map",
        "no object",
        "no weight",
        "no scale",
        "no name",
        "no file",
        "outside",
        "empty",
        "no bytes",
        "layer",
        "two",
    ],
)
def test_an_index_that_points_nowhere_is_refused(
    checkpoint: Path, change: Callable[[dict[str, Any]], object], key: str
) -> None:
    change_json(checkpoint / INDEX, change)

    with pytest.raises(InvalidCheckpoint) as caught:
        read_checkpoint(checkpoint)

    assert (caught.value.path, caught.value.key) == (checkpoint / INDEX, key)


def put_nothing(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, put_nothing], ids=["pipe", "directory", "dangling link"])
@pytest.mark.parametrize("name", ["config.json", INDEX, "tokenizer.json", SHARD])
def test_what_is_no_regular_file_is_refused_by_name_without_waiting_for_a_writer(
    checkpoint: Path, name: str, put: Callable[[Path], None]
) -> None:
    (checkpoint / name).unlink(missing_ok=True)
    put(checkpoint / name)

    with pytest.raises(InvalidCheckpoint, match="found not a regular file|found no such file") as caught:
        read_checkpoint(checkpoint)

    assert str(checkpoint / name) in str(caught.value)
    if name == SHARD:
        assert (caught.value.path, caught.value.key) == (checkpoint / INDEX, f"weight_map: {WEIGHT}")


def test_a_file_name_that_no_file_can_have_is_named_with_its_key(checkpoint: Path) -> None:
    change_json(checkpoint / INDEX, lambda index: index["weight_map"].update({WEIGHT: "x" * 300}))

    with pytest.raises(InvalidCheckpoint, match="found file name too long") as caught:
        read_checkpoint(checkpoint)

    assert (caught.value.path, caught.value.key) == (checkpoint / INDEX, f"weight_map: {WEIGHT}")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([2**62] * 60_000, "expected a shape of at most 8 numbers from 0"),
        ([2**62] * 8, r"needs 2\^60 or more bytes, its data_offsets span"),
    ],
    ids=["dimensions", "product"],
)
def test_an_absurd_shape_is_refused_at_once(checkpoint: Path, shape: list[int], message: str) -> None:
    change_header(checkpoint / SHARD, lambda header: header[WEIGHT].update(shape=shape))

    with pytest.raises(InvalidSource, match=message) as caught:
        read_checkpoint(checkpoint)

    assert len(str(caught.value)) < 1_000


def test_a_missing_shard_file_is_named(checkpoint: Path) -> None:
    (checkpoint / SHARD).unlink()

    with pytest.raises(InvalidCheckpoint, match=f"{SHARD}, found no such file"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header[WEIGHT].update(dtype="F8_E5M2"), r"expected F8_E4M3\[\d+, 256\], found F8_E5M2"),
        (lambda header: header[SCALE].update(dtype="U8"), r"expected F8_E8M0\[\d+, 8\], found U8"),
        (lambda header: header[WEIGHT]["shape"].reverse(), r"expected F8_E4M3\[\d+, 256\], found F8_E4M3\[256, \d+\]"),
        (lambda header: header.update({"other": header.pop(SCALE)}), f"tensor '{SCALE}': expected it, as"),
        (lambda header: header[WEIGHT].update(shape=[1, 256]), "needs 256 bytes, its data_offsets span"),
        (lambda header: header[SCALE].update(data_offsets=[0, 8]), "its data_offsets span 8"),
        (lambda header: header.update({"x": header[SCALE]}), f"tensors '{SCALE}' and 'x' overlap: both are at byte "),
        (lambda header: move(header[SCALE], -8), f"tensor '{SCALE}' overlaps the one before it: expected it at byte "),
        (lambda header: move(header[WEIGHT], 8), f"tensor '{WEIGHT}' leaves a gap before it: expected it at byte "),
        (lambda header: move(header[WEIGHT], 1 << 40), f"tensor '{WEIGHT}' leaves a gap before it: expected it at "),
    ],
    ids=["dtype", "scale dtype", "shape", "elsewhere", "fewer rows", "offsets", "twice", "before", "after", "far"],
)
def test_a_header_that_is_not_what_it_must_be_is_refused(
    checkpoint: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_header(checkpoint / SHARD, change)

    with pytest.raises(InvalidSource, match=message) as caught:
        read_checkpoint(checkpoint)

    assert str(checkpoint / SHARD) in str(caught.value)


@pytest.mark.parametrize("change", [-1, -(1 << 19), 1])
def test_a_file_of_another_size_than_its_header_says_is_refused(checkpoint: Path, change: int) -> None:
    size = (checkpoint / SHARD).stat().st_size
    os.truncate(checkpoint / SHARD, size + change)

    with pytest.raises(InvalidSource, match=f"describes {size:,} bytes, the file has {size + change:,}"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("size", [0, 4])
def test_a_file_too_short_for_the_length_of_its_header_is_truncated(checkpoint: Path, size: int) -> None:
    os.truncate(checkpoint / SHARD, size)

    with pytest.raises(InvalidSource, match=f"{SHARD}: truncated: expected 8 bytes .*, found {size}"):
        read_checkpoint(checkpoint)

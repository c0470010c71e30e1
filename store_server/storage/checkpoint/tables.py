"""The tables of a checkpoint, each a version that can be attached, once everything about them was checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engram_client.compression import compress_vocabulary
from engram_client.hashing import NgramHasher
from store_server.storage.attachment import attached_manifest
from store_server.storage.checkpoint.config import CheckpointConfig, read_config
from store_server.storage.checkpoint.index import read_index, table_tensors
from store_server.storage.checkpoint.layout import ROW_FORMAT, TOKENIZER
from store_server.storage.errors import InvalidCheckpoint
from store_server.storage.files.regular_file import fault_of_path

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from store_server.storage.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The version of each layer's table. `unknown_hashing` says why they carry no fingerprint, "" if they do."""

    manifests: dict[int, Manifest]
    config: CheckpointConfig
    unknown_hashing: str = ""


def read_checkpoint(directory: Path) -> Checkpoint:
    """Check a checkpoint: its config, its index, the headers of the files with tables, and its tokenizer if it has one.

    Of the rows only a small sample is read, which goes into the versions' names. Raises InvalidSource
    (InvalidCheckpoint where a key is wrong) and StorageFailure.
    """
    config = read_config(directory)
    index = read_index(directory)
    prefix = index.prefix(config.num_rows.keys())
    tensors = {
        layer: table_tensors(index, prefix, layer, num_rows, config.head_dim)
        for layer, num_rows in config.num_rows.items()
    }
    fingerprints, unknown_hashing = _fingerprints(directory, config)
    manifests = {
        layer: attached_manifest(
            tensors[layer], row_format=ROW_FORMAT, fingerprint=fingerprints[layer], index_digest=index.digest
        )
        for layer in config.num_rows
    }
    return Checkpoint(manifests=manifests, config=config, unknown_hashing=unknown_hashing)


def _fingerprints(directory: Path, config: CheckpointConfig) -> tuple[dict[int, str], str]:
    """Return the fingerprint of each layer's hashing, or empty ones and the reason."""
    unknown = dict.fromkeys(config.spec.layer_ids, "")
    path = directory / TOKENIZER
    taken = f"engram_compressed_vocab_size {config.compressed_vocab_size} was taken from {config.path.name} unchecked"
    if not os.path.lexists(path):  # a link that leads nowhere is a fault, not the absence of a tokenizer
        return unknown, f"{directory} has no {TOKENIZER}; {taken}"
    try:
        token_map, size = _compress(path)
    except ImportError:
        return unknown, f"the package tokenizers is not installed; {taken}"
    if size != config.compressed_vocab_size:
        raise InvalidCheckpoint(
            config.path,
            "engram_compressed_vocab_size",
            f"{size}, to which {path} compresses",
            config.compressed_vocab_size,
        )
    if config.spec.pad_id >= len(token_map):
        raise InvalidCheckpoint(
            config.path, "engram_pad_token_id", f"one of the {len(token_map)} ids of {path}", config.spec.pad_id
        )
    hasher = NgramHasher(config.spec, token_map)
    return {layer: hasher.fingerprint(layer) for layer in config.spec.layer_ids}, ""


def _compress(path: Path) -> tuple[NDArray[np.int64], int]:
    expected = "a tokenizer of the tokenizers library"
    try:
        if not (fault := fault_of_path(path)):
            return compress_vocabulary(path)
    except ImportError:
        raise
    except Exception as error:  # the tokenizers library raises nothing more special
        raise InvalidCheckpoint(path, "file", expected, error.__cause__ or error) from error
    raise InvalidCheckpoint(path, "file", expected, fault)

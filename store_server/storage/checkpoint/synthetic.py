"""Made-up checkpoints in the layout of DeepSeek-V4.1-Flash, of any size, with rows that follow a formula."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engram_client.hashing import HashSpec, NgramHasher
from store_server.storage.checkpoint.landmarks import landmark_rows
from store_server.storage.checkpoint.layout import (
    COLUMNS_A_SCALE,
    SCALE_DTYPE,
    WEIGHT_DTYPE,
    scale_name,
    weight_name,
)
from store_server.storage.errors import InvalidTableSpec
from store_server.storage.files.safetensors_file import LENGTH_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYERS: Final = (1, 14)
MAX_NGRAM, HEADS, HEAD_DIM, PAD_ID = 4, 8, 256, 2
VOCAB_SIZE, COMPRESSED_VOCAB_SIZE = 16_000_000, 99_092
HIDDEN_SIZE, BRANCHES, NUM_SHARDS = 5120, 4, 48
SCALES: Final = HEAD_DIM // COLUMNS_A_SCALE


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticCheckpoint:
    """What is to be written: `scale` times the nominal table sizes; row counts still follow from the primes.

    Raises InvalidTableSpec for a scale that is not above 0 and at most 1, or leaves no rows.
    """

    scale: float
    compressed_vocab_size: int = COMPRESSED_VOCAB_SIZE

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1 or round(VOCAB_SIZE * self.scale) < 1:
            raise InvalidTableSpec(f"scale must be {1 / VOCAB_SIZE:.1e} to 1, got {self.scale}")

    @property
    def row_bytes(self) -> int:
        """Width of a packed row."""
        return HEAD_DIM + SCALES

    @property
    def hidden_size(self) -> int:
        """Width of the model, scaled like its tables and made of whole blocks of a scale."""
        return max(1, round(HIDDEN_SIZE * self.scale / COLUMNS_A_SCALE)) * COLUMNS_A_SCALE

    @property
    def spec(self) -> HashSpec:
        """The hash that the row counts follow from."""
        sizes = (round(VOCAB_SIZE * self.scale),) * (MAX_NGRAM - 1)
        return HashSpec(layer_ids=LAYERS, max_ngram=MAX_NGRAM, heads=HEADS, vocab_sizes=sizes, pad_id=PAD_ID)

    def shards(self) -> list[Shard]:
        """Return the files with tables, in the order of their layers."""
        hasher = NgramHasher(self.spec, range(PAD_ID + 1))  # neither primes nor offsets depend on the token map
        first_number = NUM_SHARDS - len(LAYERS) + 1
        return [
            Shard(
                file_name=f"model-{number:05}-of-{NUM_SHARDS:05}.safetensors",
                layer=layer,
                hidden_size=self.hidden_size,
                num_rows=hasher.num_rows[layer],
                head_starts=tuple(hasher.offsets[layer].tolist()),
            )
            for number, layer in enumerate(LAYERS, first_number)
        ]

    def config(self) -> dict[str, Any]:
        """Return what config.json holds."""
        text_config = {
            "engram_layer_ids": list(LAYERS),
            "engram_num_embeddings": [shard.num_rows for shard in self.shards()],
            "engram_max_ngram_size": MAX_NGRAM,
            "engram_vocab_size": self.spec.vocab_sizes[0],
            "engram_n_heads": HEADS,
            "engram_head_dim": HEAD_DIM,
            "engram_pad_token_id": PAD_ID,
            "engram_compressed_vocab_size": self.compressed_vocab_size,
            "hidden_size": self.hidden_size,
            "hc_mult": BRANCHES,
            "num_hidden_layers": 40,
            "vocab_size": max(129_280, self.compressed_vocab_size),
            "rms_norm_eps": 1e-20,
        }
        return {"image_token_id": 129_264, "text_config": text_config}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The file of one layer: its table, and the weights of its fusion."""

    file_name: str
    layer: int
    hidden_size: int
    num_rows: int
    head_starts: tuple[int, ...]

    def tensors(self) -> dict[str, tuple[str, tuple[int, int], int]]:
        """Return dtype, shape and bytes of each tensor, in the order in which the safetensors library lays them."""
        norm = ("BF16", (BRANCHES, self.hidden_size), BRANCHES * self.hidden_size * 2)
        return {
            f"layers.{self.layer}.engram.k_weight": norm,
            f"layers.{self.layer}.engram.q_weight": norm,
            scale_name(self.layer): (SCALE_DTYPE, (self.num_rows, SCALES), self.num_rows * SCALES),
            self.wkv_scale_name: (SCALE_DTYPE, self.wkv_scale_shape, math.prod(self.wkv_scale_shape)),
            weight_name(self.layer): (WEIGHT_DTYPE, (self.num_rows, HEAD_DIM), self.num_rows * HEAD_DIM),
            self.wkv_weight_name: (WEIGHT_DTYPE, self.wkv_shape, math.prod(self.wkv_shape)),
        }

    @property
    def wkv_weight_name(self) -> str:
        """Name of the projection of a token's rows to the keys of all branches and the value."""
        return f"layers.{self.layer}.engram.wkv.weight"

    @property
    def wkv_scale_name(self) -> str:
        """Name of the scales of that projection."""
        return f"layers.{self.layer}.engram.wkv.scale"

    @property
    def wkv_shape(self) -> tuple[int, int]:
        """(branches + 1) * hidden size, by the columns of all heads."""
        return (BRANCHES + 1) * self.hidden_size, (MAX_NGRAM - 1) * HEADS * HEAD_DIM

    @property
    def wkv_scale_shape(self) -> tuple[int, int]:
        """One scale a block of 32 x 32."""
        outputs, inputs = self.wkv_shape
        return outputs // COLUMNS_A_SCALE, inputs // COLUMNS_A_SCALE

    def header(self) -> bytes:
        """Return the header, its length included."""
        entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, (dtype, shape, num_bytes) in self.tensors().items():
            entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + num_bytes]}
            end += num_bytes
        text = json.dumps(entries, separators=(",", ":")).encode()
        text = text.ljust(-(-len(text) // 8) * 8)  # so that the data begins at a multiple of 8
        return len(text).to_bytes(LENGTH_BYTES, "little") + text

    def offsets(self) -> dict[str, int]:
        """Return the byte of the file at which each tensor begins."""
        offsets, end = {}, len(self.header())
        for name, (_, _, num_bytes) in self.tensors().items():
            offsets[name] = end
            end += num_bytes
        return offsets

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return len(self.header()) + sum(num_bytes for _, _, num_bytes in self.tensors().values())

    def landmarks(self) -> NDArray[np.int64]:
        """Return the rows that a sparse file holds."""
        offsets = self.offsets()
        segments = [(offsets[weight_name(self.layer)], HEAD_DIM), (offsets[scale_name(self.layer)], SCALES)]
        return landmark_rows(self.num_rows, segments, self.head_starts)

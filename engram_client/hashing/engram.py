"""Token ids to row numbers: the n-gram hash of the Engram family, bit for bit, in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engram_client.hashing.distinct_rows import DistinctRows, distinct_of_mixes
from engram_client.hashing.fingerprint import token_map_sha256
from engram_client.hashing.head_rows import head_rows
from engram_client.hashing.history import NgramWindow
from engram_client.hashing.primes import head_primes
from engram_client.hashing.row_hasher import RowHasher
from engram_client.hashing.spec import HashSpec
from engram_client.hashing.token_reader import ReadTokens, TokenReader, blank, checked_token_map, look_up

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class NgramHasher(RowHasher):
    """Turns token ids into row numbers of each layer's table.

    The hash is the one of DeepSeek's demonstration program and, with `mask`, `sequence_ids` and a history, of
    DeepSeek-V4.1: the mix of an n-gram is the XOR of (compressed id k positions back) * multipliers[k], wrapped to
    int64; head j of order n reads row offset + (mix floor-mod prime). Whatever cannot be seen counts as the pad id;
    negative ids are hashed as the numbers they are.

    Args:
        spec: the parameters of the model's hash.
        token_map: integers (vocabulary,), token id to compressed id, none negative; the size of the compressed
            vocabulary is its maximum + 1, and the multipliers depend on it.

    Attributes:
        multipliers: layer id to odd int64 (max_ngram,); entry k belongs to the token k positions back.
        primes: layer id to int64 (max_ngram - 1, heads), the rows of each head's table.
        offsets: layer id to int64 (columns,), the first row of each head's table; columns = (max_ngram - 1) * heads.
        num_rows: layer id to the rows of the layer's whole table.
        orders: the n-gram orders that are looked up.
        columns: the rows that one token looks up.

    Raises:
        ValueError: the token map is not one row of compressed ids, or does not hold the spec's pad id.
        TypeError: the token map does not hold integers.
    """

    family = "engram"

    def __init__(self, spec: HashSpec, token_map: ArrayLike) -> None:
        self.spec = spec
        self.token_map = checked_token_map(token_map)
        if spec.pad_id >= len(self.token_map):
            raise ValueError(f"pad_id must be below {len(self.token_map)}, the token map's length, got {spec.pad_id}")
        self.layer_ids, self.orders = spec.layer_ids, range(2, spec.max_ngram + 1)
        self.columns = len(self.orders) * spec.heads
        self.compressed_size = int(self.token_map.max()) + 1
        self.compressed_pad_id = int(self.token_map[spec.pad_id])
        self.multipliers = {layer: _draw_multipliers(spec, layer, self.compressed_size) for layer in spec.layer_ids}
        self.primes = head_primes(spec.layer_ids, spec.vocab_sizes, spec.heads)
        self.offsets = {layer: head_offsets(primes) for layer, primes in self.primes.items()}
        self.num_rows = {layer: int(primes.sum()) for layer, primes in self.primes.items()}
        self._token_map_sha256 = token_map_sha256(self.token_map)
        self.reader = TokenReader(
            past=spec.max_ngram - 1,
            pad_id=self.compressed_pad_id,
            made_by=f"the engram family of {spec} with token map {self._token_map_sha256[:12]}",
            read=self._read,
        )

    def _rows(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:
        return xor_rows(window, self.multipliers[layer], self.primes[layer], self.offsets[layer])

    def _distinct_rows(self, window: NgramWindow, layer: int) -> DistinctRows:
        return distinct_xor_rows(window, self.multipliers[layer], self.primes[layer], self.offsets[layer])

    def _facts(self, layer: int) -> dict[str, Any]:
        return {
            "compressed_pad_id": self.compressed_pad_id,
            "heads": self.spec.heads,
            "layer": layer,
            "max_ngram": self.spec.max_ngram,
            "multipliers": self.multipliers[layer].tolist(),
            "primes": self.primes[layer].tolist(),
            "token_map_sha256": self._token_map_sha256,
        }

    def _read(self, ids: NDArray[np.integer], takes_part: NDArray[np.bool_] | None) -> ReadTokens:
        return ReadTokens(look_up(blank(ids, takes_part), self.token_map), takes_part)


def xor_rows(
    window: NgramWindow,
    multipliers: NDArray[np.int64],
    primes: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the rows of XOR mixes, (batch, seq, columns), offsets included."""
    mixes = xor_mixes(window, multipliers)
    rows = head_rows(mixes.reshape(len(mixes), -1), primes, offsets)
    return rows.reshape(*mixes.shape[1:], offsets.size)


def distinct_xor_rows(
    window: NgramWindow,
    multipliers: NDArray[np.int64],
    primes: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> DistinctRows:
    """Return the rows of XOR mixes, each mix once."""
    mixes = xor_mixes(window, multipliers)
    return distinct_of_mixes(mixes.reshape(len(mixes), -1), mixes.shape[1], primes, offsets)


def xor_mixes(window: NgramWindow, multipliers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the mix of each token's n-gram of every order from 2 up, (orders, batch, seq)."""
    mix = window.look_back(0) * multipliers[0]
    mixes = np.empty((len(multipliers) - 1, *mix.shape), dtype=np.int64)
    for k in range(1, len(multipliers)):
        product = np.multiply(window.look_back(k), multipliers[k], out=mixes[k - 1])
        mix = np.bitwise_xor(mix, product, out=product)
    return mixes


def head_offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first row of each head's part of a table, (columns,), from the parts' sizes (orders, heads)."""
    offsets = np.cumsum(sizes) - sizes.ravel()
    offsets.setflags(write=False)
    return offsets


def _draw_multipliers(spec: HashSpec, layer: int, compressed_size: int) -> NDArray[np.int64]:
    """Draw a layer's odd multipliers: no product with a compressed id leaves int64."""
    half = max(1, (2**63 - 1) // compressed_size // 2)
    generator = np.random.default_rng(spec.seed + 10007 * layer)
    multipliers = generator.integers(0, half, size=spec.max_ngram, dtype=np.int64) * 2 + 1
    multipliers.setflags(write=False)
    return multipliers

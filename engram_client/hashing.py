"""Token ids to row numbers: the n-gram hash of the Engram family, bit for bit, in NumPy."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from engram_client.hash_spec import HashSpec
from engram_client.ngram_history import NgramHistory, NgramWindow, start_history
from engram_client.primes import head_primes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["HashSpec", "NgramHasher", "NgramHistory"]

# Up to this many tokens one broadcast remainder is quicker than a pass per column: 4 us against 100 us for one token.
BROADCAST_TOKENS = 1024
# More tokens are hashed in blocks that stay in a core's cache.
BLOCK_TOKENS = 8192


class NgramHasher:
    """Turns token ids into row numbers of each layer's table.

    The hash is the one of DeepSeek's demonstration program and, with `mask`, `sequence_ids` and a history, of
    DeepSeek-V4.1: the mix of an n-gram is the XOR of (compressed id k positions back) * multipliers[k], wrapped to
    int64; head j of order n reads row offset + (mix floor-mod prime). Whatever cannot be seen counts as the pad id.

    Args:
        spec: the parameters of the model's hash.
        token_map: integers (vocabulary,), token id to compressed id, none negative; the size of the compressed
            vocabulary is its maximum + 1, and the multipliers depend on it.

    Attributes:
        multipliers: layer id to odd int64 (max_ngram,); entry k belongs to the token k positions back.
        primes: layer id to int64 (max_ngram - 1, heads), the rows of each head's table.
        offsets: layer id to int64 (columns,), the first row of each head's table; columns = (max_ngram - 1) * heads.
        num_rows: layer id to the rows of the layer's whole table.

    Raises:
        ValueError: the token map is not one row of compressed ids, or does not hold the spec's pad id.
        TypeError: the token map does not hold integers.
    """

    def __init__(self, spec: HashSpec, token_map: ArrayLike) -> None:
        self.spec = spec
        self.token_map = _checked_token_map(token_map, spec.pad_id)
        self.compressed_size = int(self.token_map.max()) + 1
        self.compressed_pad_id = int(self.token_map[spec.pad_id])
        self.multipliers = {layer: _draw_multipliers(spec, layer, self.compressed_size) for layer in spec.layer_ids}
        self.primes = head_primes(spec.layer_ids, spec.vocab_sizes, spec.heads)
        self.offsets = {layer: _frozen(np.cumsum(primes) - primes.ravel()) for layer, primes in self.primes.items()}
        self.num_rows = {layer: int(primes.sum()) for layer, primes in self.primes.items()}

    def rows(
        self,
        token_ids: ArrayLike,
        layer: int,
        mask: ArrayLike | None = None,
        sequence_ids: ArrayLike | None = None,
        history: NgramHistory | None = None,
    ) -> NDArray[np.int64]:
        """Return the row numbers to look up in the table of `layer`, int64 (batch, seq, columns), offsets included.

        Columns are all heads of order 2, then of order 3, and so on. Any cutting of a sequence into pieces gives the
        rows of the whole, if each piece brings the history of those before it.

        Args:
            token_ids: integers (batch, seq). Negative ids are hashed as the numbers they are.
            layer: one of the spec's layer ids.
            mask: booleans (batch, seq); False marks a token that takes no part: neither it nor anything before it is
                seen by itself or by later tokens, and its id is never read.
            sequence_ids: integers (batch, seq), the documents packed into each row, 0 for padding. A token sees only
                its own document; padding takes no part.
            history: what `advance` returned for the tokens before these; None at the start.

        Raises:
            KeyError: the spec has no such layer.
            IndexError: a token id is not below the length of the token map.
            ValueError: shapes disagree, or a history made with sequence ids is continued without them.
            TypeError: ids are not integers or the mask is not boolean.
        """
        if layer not in self.primes:
            raise KeyError(f"layer {layer} is not hashed, only {self.spec.layer_ids}")
        window = self._window(token_ids, mask, sequence_ids, history)
        return self._heads(self._mixes(window, layer), layer)

    def advance(
        self,
        history: NgramHistory | None,
        token_ids: ArrayLike,
        mask: ArrayLike | None = None,
        sequence_ids: ArrayLike | None = None,
    ) -> NgramHistory:
        """Return the history for the tokens after these; arguments and errors as for `rows`."""
        return self._window(token_ids, mask, sequence_ids, history).history()

    def fingerprint(self, layer: int) -> str:
        """Return the digest of everything that decides which row of the table of `layer` a token reads.

        It is "engram-v1:" and the lower-case hex SHA-256 of one line of ASCII JSON without spaces or line end, keys in
        this order, all integers in decimal:

            {"compressed_pad_id":P,"family":"engram","heads":K,"layer":L,"max_ngram":N,"multipliers":[...],
            "primes":[[...],...],"token_map_sha256":"..."}

        (broken here for width only), where `multipliers` holds N numbers, `primes` a list of K for each order, and
        `token_map_sha256` is the lower-case hex SHA-256 of the token map as little-endian signed 64-bit integers.

        The drawn numbers stand for the seed, the nominal sizes and the list of layers that they come from. So a client
        with a faulty random generator or prime search is found out, and one that loads fewer layers, which reads the
        same rows, is not turned away.
        """
        if layer not in self.primes:
            raise KeyError(f"layer {layer} is not hashed, only {self.spec.layer_ids}")
        facts = {
            "compressed_pad_id": self.compressed_pad_id,
            "family": "engram",
            "heads": self.spec.heads,
            "layer": layer,
            "max_ngram": self.spec.max_ngram,
            "multipliers": self.multipliers[layer].tolist(),
            "primes": self.primes[layer].tolist(),
            "token_map_sha256": hashlib.sha256(self.token_map.astype("<i8").tobytes()).hexdigest(),
        }
        line = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return f"engram-v1:{hashlib.sha256(line.encode('ascii')).hexdigest()}"

    def _window(
        self,
        token_ids: ArrayLike,
        mask: ArrayLike | None,
        sequence_ids: ArrayLike | None,
        history: NgramHistory | None,
    ) -> NgramWindow:
        """Check what came from outside, compress it and put what can be seen of the past in front."""
        ids = _checked_array("token_ids", token_ids, "iu", "integers")
        takes_part = None if mask is None else _checked_array("mask", mask, "b", "booleans", ids.shape).astype(np.bool_)
        documents = None
        if sequence_ids is not None:
            documents = _checked_array("sequence_ids", sequence_ids, "iu", "integers", ids.shape).astype(np.int64)
            takes_part = documents != 0 if takes_part is None else takes_part & (documents != 0)
        batch, past = len(ids), self.spec.max_ngram - 1
        if history is None:
            history = start_history(batch, past, self.compressed_pad_id, packed=documents is not None)
        elif history.tokens.shape != (batch, past):
            raise ValueError(f"the history must be of {(batch, past)} tokens, got {history.tokens.shape}")
        tokens = self._compress(ids, takes_part)
        return NgramWindow(tokens, takes_part, documents, history, self.compressed_pad_id)

    def _compress(self, ids: NDArray[np.integer], takes_part: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Map raw ids to compressed ones; negative ids pass, the ids of tokens that take no part are not looked at."""
        if takes_part is not None:
            ids = np.where(takes_part, ids, 0)
        if ids.size == 0:
            return np.zeros(ids.shape, dtype=np.int64)
        if ids.max() >= len(self.token_map):
            raise IndexError(f"token ids must be below {len(self.token_map)}, the token map's length, got {ids.max()}")
        ids = ids.astype(np.int64, copy=False)
        if ids.min() < 0:
            return np.where(ids < 0, ids, self.token_map[np.maximum(ids, 0)])
        return self.token_map.take(ids)

    def _mixes(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:
        """Return the mix of each n-gram, (orders, batch, seq): all heads of one order share one."""
        multipliers = self.multipliers[layer]
        mix = window.look_back(0) * multipliers[0]
        mixes = np.empty((len(multipliers) - 1, *mix.shape), dtype=np.int64)
        for k in range(1, len(multipliers)):
            mix = np.bitwise_xor(mix, window.look_back(k) * multipliers[k], out=mixes[k - 1])
        return mixes

    def _heads(self, mixes: NDArray[np.int64], layer: int) -> NDArray[np.int64]:
        """Return mix floor-mod prime + offset for every head, (batch, seq, columns)."""
        orders, batch, seq = mixes.shape
        primes, offsets = self.primes[layer], self.offsets[layer]
        rows = np.empty((batch * seq, offsets.size), dtype=np.int64)
        flat = mixes.reshape(orders, batch * seq)
        if len(rows) <= BROADCAST_TOKENS:
            np.remainder(flat.T[:, :, None], primes, out=rows.reshape(-1, orders, self.spec.heads))
            rows += offsets
        else:
            for start in range(0, len(rows), BLOCK_TOKENS):
                block = slice(start, start + BLOCK_TOKENS)
                _fill_columns(flat[:, block], primes, offsets, out=rows[block])
        return rows.reshape(batch, seq, offsets.size)


def _fill_columns(
    mixes: NDArray[np.integer], primes: NDArray[np.integer], offsets: NDArray[np.integer], out: NDArray[np.integer]
) -> None:
    """Write mix floor-mod prime + offset of (orders, tokens) mixes into (tokens, columns), a column at a time.

    NumPy divides by one number with SIMD, which it does not do for remainders, and twice as fast without signs.
    """
    dtype = np.int64 if mixes.min() < 0 else np.uint64
    mixes, primes, offsets, out = (array.view(dtype) for array in (mixes, primes, offsets, out))
    quotient = np.empty(mixes.shape[1], dtype)
    for column, offset in enumerate(offsets):
        order, head = divmod(column, primes.shape[1])
        np.floor_divide(mixes[order], primes[order, head], out=quotient)
        quotient *= primes[order, head]
        np.subtract(mixes[order], quotient, out=quotient)
        np.add(quotient, offset, out=out[:, column])


def _draw_multipliers(spec: HashSpec, layer: int, compressed_size: int) -> NDArray[np.int64]:
    """Draw a layer's odd multipliers: no product with a compressed id leaves int64."""
    half = max(1, (2**63 - 1) // compressed_size // 2)
    generator = np.random.default_rng(spec.seed + 10007 * layer)
    return _frozen(generator.integers(0, half, size=spec.max_ngram, dtype=np.int64) * 2 + 1)


def _checked_token_map(token_map: ArrayLike, pad_id: int) -> NDArray[np.int64]:
    """Return a read-only copy of the token map."""
    compressed = np.asarray(token_map)
    if compressed.dtype.kind not in "iu":
        raise TypeError(f"the token map must hold integers, got {compressed.dtype}")
    if compressed.ndim != 1 or compressed.size == 0:
        raise ValueError(f"the token map must be one row of at least one compressed id, got shape {compressed.shape}")
    compressed = compressed.astype(np.int64)  # a copy; what does not fit turns negative
    if compressed.min() < 0:
        raise ValueError(f"compressed ids must lie between 0 and {2**63 - 1}, got {compressed.min()} in the token map")
    if pad_id >= len(compressed):
        raise ValueError(f"pad_id must be below {len(compressed)}, the token map's length, got {pad_id}")
    return _frozen(compressed)


def _checked_array(
    name: str, values: ArrayLike, kinds: str, noun: str, shape: tuple[int, ...] | None = None
) -> NDArray[np.integer]:
    """Return (batch, seq) values of the kind asked for; an empty list has no kind of its own."""
    array = np.asarray(values)
    if array.size > 0 and array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be {noun}, got {array.dtype}")
    if shape is None and array.ndim != 2:
        raise ValueError(f"{name} must be of shape (batch, seq), got {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} must have the shape of token_ids, {shape}, got {array.shape}")
    return array


def _frozen(array: NDArray[np.int64]) -> NDArray[np.int64]:
    array.setflags(write=False)
    return array

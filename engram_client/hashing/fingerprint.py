"""Fingerprints: one digest over everything that decides which row of a layer's table a token reads.

A fingerprint is "FAMILY-vVERSION:" and the lower-case hex SHA-256 of one line of ASCII JSON, without spaces or line
end, keys in alphabetical order, all integers in decimal. The version grows when what is hashed for a family changes.
The keys are:

engram-v1    compressed_pad_id, family, heads, layer, max_ngram, multipliers, primes, token_map_sha256
qwen-ple-v1  eos_id, family, heads, layer, max_ngram, multipliers, num_rows, primes, vocab_size
longcat-v1   base_rows, eos_id, family, heads, layer, max_ngram, moduli, vocab_size
study-v1     bases, family, heads, layer, max_ngram, min_ngram, moduli, table_size, token_map_sha256

`family` is the name before "-v"; `multipliers` holds max_ngram numbers; `bases` and study's `moduli` one for each head;
`primes` and longcat's `moduli` a list for each order, each with one number for each head; `token_map_sha256` is the
lower-case hex SHA-256 of the token map as little-endian signed 64-bit integers.

The drawn numbers stand for the seed, the nominal sizes and the list of layers that they come from. So a client with a
faulty random generator or prime search is found out, and one that loads fewer layers, which reads the same rows, is not
turned away.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


def fingerprint(family: str, facts: Mapping[str, object], version: int = 1) -> str:
    """Return the fingerprint of a family over the facts that this file lists for it."""
    line = json.dumps({**facts, "family": family}, sort_keys=True, separators=(",", ":"))
    return f"{family}-v{version}:{hashlib.sha256(line.encode('ascii')).hexdigest()}"


def token_map_sha256(token_map: NDArray[np.integer]) -> str:
    """Return the lower-case hex SHA-256 of a token map as little-endian signed 64-bit integers."""
    return hashlib.sha256(token_map.astype("<i8").tobytes()).hexdigest()

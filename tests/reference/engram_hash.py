"""The n-gram hash, token by token in plain integers: a second implementation that shares nothing with the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class LayerHash:
    multipliers: list[int]
    primes: list[list[int]]  # [order - 2][head]
    pad_id: int  # compressed


def draw_multipliers(seed: int, layer: int, max_ngram: int, compressed_size: int) -> list[int]:
    half = max(1, (2**63 - 1) // compressed_size // 2)
    draws = np.random.default_rng(seed + 10007 * layer).integers(0, half, size=max_ngram, dtype=np.int64)
    return [2 * int(draw) + 1 for draw in draws]


def find_primes(layers: list[int], vocab_sizes: list[int], heads: int) -> dict[int, list[list[int]]]:
    seen: set[int] = set()
    primes: dict[int, list[list[int]]] = {}
    for layer in layers:
        primes[layer] = []
        for nominal in vocab_sizes:
            of_order: list[int] = []
            last = nominal - 1
            for _ in range(heads):
                last = next_unseen_prime(last, seen)
                seen.add(last)
                of_order.append(last)
            primes[layer].append(of_order)
    return primes


def next_unseen_prime(start: int, seen: set[int]) -> int:
    candidate = start + 1
    while candidate in seen or not is_prime(candidate):
        candidate += 1
    return candidate


def is_prime(number: int) -> bool:
    if number < 2:
        return False
    divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 1
    return True


def compress(token_id: int, token_map: list[int]) -> int:
    return token_id if token_id < 0 else token_map[token_id]


def hash_sequence(
    tokens: list[int], layer: LayerHash, mask: list[bool] | None = None, documents: list[int] | None = None
) -> list[list[int]]:
    """Return [position][column] of one whole sequence of compressed ids, offsets included."""
    rows = []
    for position in range(len(tokens)):
        gram = look_back(tokens, position, layer, mask, documents)
        rows.append(hash_gram(gram, layer))
    return rows


def look_back(
    tokens: list[int], position: int, layer: LayerHash, mask: list[bool] | None, documents: list[int] | None
) -> list[int]:
    """Return the token and those before it, newest first; what is blocked once stays blocked."""
    gram = []
    blocked = False
    for shift in range(len(layer.multipliers)):
        source = position - shift
        if source < 0:
            blocked = True
        if not blocked and mask is not None and not mask[source]:
            blocked = True
        if not blocked and documents is not None and documents[source] == 0:
            blocked = True
        if not blocked and documents is not None and documents[source] != documents[position]:
            blocked = True
        gram.append(layer.pad_id if blocked else tokens[source])
    return gram


def hash_gram(gram: list[int], layer: LayerHash) -> list[int]:
    row = []
    offset = 0
    mix = wrap_int64(gram[0] * layer.multipliers[0])
    for order in range(2, len(gram) + 1):
        mix ^= wrap_int64(gram[order - 1] * layer.multipliers[order - 1])
        for prime in layer.primes[order - 2]:
            row.append(offset + mix % prime)
            offset += prime
    return row


def wrap_int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63

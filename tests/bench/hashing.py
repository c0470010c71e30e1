"""Hashing 8,192 tokens for 2 layers x 24 columns, against the bare remainders that it must take, on one core.

    python tests/bench/hashing.py [--rounds N]

Both take turns, so that a machine that slows down slows both: `np.remainder` into a warm buffer, once for each of the
48 columns, from mixes that are already there; and `NgramHasher.rows` from token ids to row numbers, one layer's rows
dropped before the next layer's are made, so that memory stays warm on this side too.
The claim: hashing takes at most 1.5 times as long as the bare remainders, on one core, in one run. It is about the
ratio of the medians, on a core that nobody else uses. Beside it stands the ratio of the fastest rounds, which a busy
neighbour touches least: on a shared machine, go by that one.
Afterwards: what it takes only to find the n-grams that repeat (`np.unique` of the mixes, with the inverse), which is
what hashing each distinct n-gram once would first have to save.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engram_client.hashing import HashSpec, NgramHasher

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference import engram_hash as reference

V41 = HashSpec(layer_ids=(1, 14), max_ngram=4, heads=8, vocab_sizes=(16_000_000,) * 3, pad_id=2)
VOCABULARY, COMPRESSED = 129_280, 99_092
TOKENS, CHECKED_TOKENS = 8192, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=201, help="rounds (default: %(default)s)")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    grow_the_heap()
    hasher = NgramHasher(V41, np.arange(VOCABULARY) * 7919 % COMPRESSED)
    ids = zipf_ids()
    mixes = {layer: mixes_of(hasher, ids, layer) for layer in hasher.layer_ids}
    check(hasher, ids, mixes)
    seconds = measure([lambda: bare_remainders(hasher, mixes), lambda: hash_layers(hasher, ids)], options.rounds)
    repeats = measure([lambda: find_repeats(mixes)], options.rounds)
    report({"remainders": seconds[0], "hashing": seconds[1], "finding repeats": repeats[0]})


def grow_the_heap() -> None:
    """Free 16 MiB once, as every process has that held a larger array.

    Only then glibc keeps the memory of the rows for the next call; before, each call may pay 400 page faults a layer.
    """
    np.ones(2**21)


def zipf_ids() -> NDArray[np.int64]:
    """Token ids (1, tokens) that repeat, as text does and more so."""
    return (np.random.default_rng(1).zipf(1.2, (1, TOKENS)) % VOCABULARY).astype(np.int64)


def mixes_of(hasher: NgramHasher, ids: NDArray[np.int64], layer: int) -> NDArray[np.int64]:
    """The mix of each n-gram (orders, tokens), computed here in plain NumPy."""
    tokens = hasher.token_map[ids[0]]
    mixes, mix = [], tokens * hasher.multipliers[layer][0]
    for k in range(1, hasher.spec.max_ngram):
        past = np.concatenate([np.full(k, hasher.compressed_pad_id), tokens[:-k]])
        mix = mix ^ (past * hasher.multipliers[layer][k])
        mixes.append(mix)
    return np.array(mixes)


def bare_remainders(hasher: NgramHasher, mixes: dict[int, NDArray[np.int64]]) -> None:
    buffer = np.empty(TOKENS, dtype=np.int64)
    for layer, of_layer in mixes.items():
        for mix, primes in zip(of_layer, hasher.primes[layer], strict=True):
            for prime in primes:
                np.remainder(mix, prime, out=buffer)


def hash_layers(hasher: NgramHasher, ids: NDArray[np.int64]) -> None:
    for layer in hasher.layer_ids:
        hasher.rows(ids, layer)


def find_repeats(mixes: dict[int, NDArray[np.int64]]) -> None:
    for of_layer in mixes.values():
        for mix in of_layer:
            np.unique(mix, return_inverse=True)


def check(hasher: NgramHasher, ids: NDArray[np.int64], mixes: dict[int, NDArray[np.int64]]) -> None:
    """Stop unless all rows equal the bare remainders, and the first ones those of the literal hash."""
    for layer, of_layer in mixes.items():
        rows = hasher.rows(ids, layer)[0]  # (tokens, columns)
        bare = np.remainder(of_layer[:, None, :], hasher.primes[layer][:, :, None]).reshape(-1, TOKENS).T
        parameters = reference.LayerHash(
            hasher.multipliers[layer].tolist(), hasher.primes[layer].tolist(), hasher.compressed_pad_id
        )
        literal = reference.hash_sequence(hasher.token_map[ids[0, :CHECKED_TOKENS]].tolist(), parameters)
        if not np.array_equal(rows, bare + hasher.offsets[layer]) or rows[:CHECKED_TOKENS].tolist() != literal:
            raise SystemExit(f"layer {layer}: wrong rows")


def measure(calls: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each round of each call; the calls take turns."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, measured in zip(calls, seconds, strict=True):
            began = time.perf_counter()
            call()
            measured.append(time.perf_counter() - began)
    return seconds


def report(seconds: dict[str, list[float]]) -> None:
    print(f"{TOKENS} tokens, {len(V41.layer_ids)} layers x 24 columns, one core, all rows checked")
    print(f"{'':<16} {'median ms':>10} {'ratio':>6} {'fastest ms':>11} {'ratio':>6}")
    for name, measured in seconds.items():
        median, fastest = (of(measured) for of in (statistics.median, min))
        bare_median, bare_fastest = (of(seconds["remainders"]) for of in (statistics.median, min))
        ratios = median / bare_median, fastest / bare_fastest
        print(f"{name:<16} {median * 1e3:>10.3f} {ratios[0]:>6.2f} {fastest * 1e3:>11.3f} {ratios[1]:>6.2f}")


if __name__ == "__main__":
    main()

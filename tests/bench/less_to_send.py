"""How much less is sent with deduplication and a row cache, on real text, and what both cost where nothing repeats.

    python tests/bench/less_to_send.py [--documents DIR] [--tokens N] [--rounds N]

The text is the kernel's manual (Debian's package linux-doc-6.1, `apt-get install linux-doc-6.1`): its .rst files in the
order of their names, through the tokenizer of DeepSeek V4, in batches of 8,192 tokens, hashed as DeepSeek-V4.1 does for
its layer 1. Each batch is deduplicated by n-gram; the cache then sees what is left. It has the bytes of 5 % of the rows
that ever occur, with all that it keeps beside rows counted. What it saves stands beside what the best fixed choice of
5 % of the rows would save, known from the whole text: loaded beforehand, or on first use, which costs a fetch a row.

Then a real node answers fetches of ids that never repeat, with and without both steps, in turns. What counts is the
median of the rounds' ratios; shown apart are the rounds in which the steps still find out that they do not pay, and all
rounds together, in which they also try again. Every row is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import engram_client
from engram_client.distinct import find_distinct
from engram_client.hashing import HashSpec, NgramHasher
from engram_client.row_cache import RowCache
from store_server.commands.demo.vocabulary import Vocabulary

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.ctrl_c import ctrl_c_is_one_line, node_without_ctrl_c
from support.tables import write_table

DOCUMENTS = Path("/usr/share/doc/linux-doc-6.1/Documentation")
V41 = HashSpec(layer_ids=(1, 14), max_ngram=4, heads=8, vocab_sizes=(16_000_000,) * 3, pad_id=2)
LAYER, BATCH_TOKENS, ROW_BYTES = 1, 8192, 264
CACHED_SHARE = 0.05
IDS_PER_FETCH, IN_FLIGHT = 4096, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, default=DOCUMENTS, help="folder of .rst files (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=800_000, help="tokens of text (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=41, help="rounds of distinct ids, 0 for none (default: %(default)s)"
    )
    parser.add_argument("--table-rows", type=int, default=2_000_000, help="rows to fetch from (default: %(default)s)")
    options = parser.parse_args()
    if options.documents.is_dir():
        print(f"preparing: {options.tokens:,} tokens of {options.documents}, with their rows", flush=True)
        batches = text_batches(options.documents, options.tokens)
        report_savings(batches)
        report_costs(batches)
    else:
        print(f"SKIPPED what text saves: there is no {options.documents}; apt-get install linux-doc-6.1")
    if options.rounds:
        print(f"preparing: a node with {options.table_rows:,} rows, for ids that never repeat", flush=True)
        asyncio.run(compare_on_distinct_ids(options.table_rows, options.rounds))


class Batch(NamedTuple):
    token_ids: NDArray[np.int64]
    hasher: NgramHasher
    rows: NDArray[np.int64]
    """What is left to ask for after deduplication, (distinct,)."""


def text_batches(documents: Path, max_tokens: int) -> list[Batch]:
    """Tokenize and hash, each batch with the history of those before."""
    vocabulary = Vocabulary()
    hasher = NgramHasher(V41, vocabulary.token_map)
    token_ids = np.fromiter(itertools.islice(all_tokens(documents, vocabulary), max_tokens), np.int64)
    history, batches = None, []
    for start in range(0, len(token_ids), BATCH_TOKENS):
        ids = token_ids[None, start : start + BATCH_TOKENS]
        distinct = hasher.distinct_rows(ids, LAYER, history=history)
        if not np.array_equal(distinct.expand(distinct.rows), hasher.rows(ids, LAYER, history=history)):
            raise SystemExit("wrong rows after deduplication")
        history = hasher.advance(history, ids)
        batches.append(Batch(ids, hasher, distinct.rows.reshape(-1)))
    return batches


def all_tokens(documents: Path, vocabulary: Vocabulary) -> Iterator[int]:
    for path in sorted(documents.rglob("*.rst*")):
        if path.suffix in {".rst", ".gz"}:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            yield from vocabulary.tokens(content.decode("utf-8"))[0].tolist()


def report_savings(batches: list[Batch]) -> None:
    plain = sum(batch.token_ids.size for batch in batches) * batches[0].hasher.columns
    left = sum(len(batch.rows) for batch in batches)
    _, counts = np.unique(np.concatenate([batch.rows for batch in batches]), return_counts=True)
    num_cached = int(CACHED_SHARE * len(counts))
    of_the_best = np.sort(counts)[::-1][:num_cached]
    hits, held_bytes = replay(batches, num_cached * ROW_BYTES)
    print(f"{plain:,} rows asked for, {left:,} of them after deduplication, {len(counts):,} different ones")
    print(f"deduplication sends                          {left / plain:.3f} of the rows")
    print(f"cache, {held_bytes:>11,} of {num_cached * ROW_BYTES:>11,} bytes    hits {hits / left:.3f} of what is left")
    print(f"of the best fixed choice loaded beforehand   {hits / of_the_best.sum():.3f} of what it saves")
    print(f"of the best fixed choice loaded on first use {hits / (of_the_best - 1).sum():.3f} of what it saves")
    print(f"of a cache without limit                     {hits / (left - len(counts)):.3f} of what it saves")
    print(f"both send                                    {(left - hits) / plain:.3f} of the rows")


def replay(batches: list[Batch], cache_bytes: int) -> tuple[int, int]:
    """Ask a cache for each batch's rows and put in what is missing; return its hits and the bytes that it holds."""
    tracemalloc.start()
    cache, hits = RowCache(cache_bytes, ROW_BYTES), 0
    for batch in batches:
        hits += len(batch.rows) - ask(cache, batch.rows)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if held_bytes > cache_bytes + 10_000:  # Python's own objects are in this figure
        raise SystemExit(f"the cache holds {held_bytes} bytes, more than {cache_bytes}")
    return hits, cache.nbytes


def ask(cache: RowCache, keys: NDArray[np.int64]) -> int:
    out = np.empty((len(keys), ROW_BYTES), np.uint8)
    missing = cache.take(keys, out)
    fetched = numbered_rows(keys[missing])
    cache.put(keys[missing], fetched)
    out[missing] = fetched
    if not np.array_equal(out, numbered_rows(keys)):
        raise SystemExit("the cache gave wrong rows")
    return len(missing)


def numbered_rows(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    words = numbers.astype(np.uint64)[:, None] * np.arange(1, ROW_BYTES // 8 + 1, dtype=np.uint64)
    return words.view(np.uint8)


def report_costs(batches: list[Batch]) -> None:
    """Time what is done for one batch, in time of this thread alone: others share the machine."""
    batch = batches[-2] if len(batches) > 1 else batches[-1]
    rows = batch.hasher.rows(batch.token_ids, LAYER).reshape(-1)
    cache = RowCache(len(batch.rows) * ROW_BYTES, ROW_BYTES)
    fetched, out = numbered_rows(batch.rows), np.empty((len(batch.rows), ROW_BYTES), np.uint8)
    print("\nnanoseconds of one core for a plain row, resp. a row left after deduplication")
    for name, call, count in (
        ("hash", lambda: batch.hasher.rows(batch.token_ids, LAYER), len(rows)),
        ("hash, each n-gram once", lambda: batch.hasher.distinct_rows(batch.token_ids, LAYER), len(rows)),
        ("find repeats in rows", lambda: find_distinct(rows[None]), len(rows)),
        ("the same, np.unique", lambda: np.unique(rows, return_inverse=True), len(rows)),
        ("cache: put", lambda: cache.put(batch.rows, fetched), len(batch.rows)),
        ("cache: take", lambda: cache.take(batch.rows, out), len(batch.rows)),
    ):
        seconds = []
        for _ in range(15):
            began = time.thread_time()
            call()
            seconds.append(time.thread_time() - began)
        print(f"{name:<24} {statistics.median(seconds) / count * 1e9:>7.1f}")


class DistinctIds:
    """Fetches of ids that repeat neither in a fetch nor, until the table is used up, from one to the next."""

    def __init__(self, table: engram_client.Table, seed: int) -> None:
        self._table = table
        self._chosen = np.random.default_rng(seed)
        self._left = np.empty(0, np.int64)

    async def round(self, num_fetches: int) -> float:
        """Return the seconds that fetches take, some in flight at any time; their rows are checked afterwards."""
        batches = [self._next_ids() for _ in range(num_fetches)]
        waiting, fetched = iter(enumerate(batches)), [np.empty(0)] * num_fetches

        async def fetch_some() -> None:
            for number, ids in waiting:
                fetched[number] = await self._table.fetch(ids)

        began = time.perf_counter()
        await asyncio.gather(*(fetch_some() for _ in range(IN_FLIGHT)))
        seconds = time.perf_counter() - began
        if not all(np.array_equal(rows, numbered_rows(ids)) for ids, rows in zip(batches, fetched, strict=True)):
            raise SystemExit("wrong rows")
        return seconds

    def _next_ids(self) -> NDArray[np.int64]:
        if len(self._left) < IDS_PER_FETCH:
            self._left = self._chosen.permutation(self._table.num_rows)
        ids, self._left = self._left[:IDS_PER_FETCH], self._left[IDS_PER_FETCH:]
        return ids


async def compare_on_distinct_ids(table_rows: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-") as directory:
        root = Path(directory, "root")
        write_table(root, "t", numbered_rows(np.arange(table_rows)))
        cache_bytes = max(1 << 20, int(CACHED_SHARE * table_rows) * ROW_BYTES)
        with node_without_ctrl_c(root, "--in-memory", "t") as node:
            async with (
                engram_client.connect(node.url) as plain,
                engram_client.connect(node.url, cache_bytes=cache_bytes) as cached,
            ):
                await report_distinct_ids(plain, cached, rounds)


async def report_distinct_ids(plain: engram_client.Store, cached: engram_client.Store, rounds: int) -> None:
    without, with_both = DistinctIds(await plain.table("t"), 1), DistinctIds(await cached.table("t"), 2)
    await without.round(32)
    finding_out = await rounds_until_aside(without, with_both, cached)
    settled = [await take_turns(without, with_both, 64, number) for number in range(rounds)]
    print(
        f"\nids that never repeat, {IDS_PER_FETCH} a fetch, {IN_FLIGHT} in flight: time with both steps to time without"
    )
    print(f"until they stand aside, {len(finding_out):>3} rounds  {median_ratio(finding_out):.3f}")
    print(f"afterwards, {rounds:>3} rounds              {median_ratio(settled):.3f}")
    print(f"all together                       {ratio_of_sums(finding_out + settled):.3f}")


async def rounds_until_aside(
    without: DistinctIds, with_both: DistinctIds, cached: engram_client.Store
) -> list[tuple[float, float]]:
    seconds = []
    while not (seconds and cached.cache["t"].stands_aside):
        seconds.append(await take_turns(without, with_both, 16, len(seconds)))
    return seconds


async def take_turns(without: DistinctIds, with_both: DistinctIds, fetches: int, number: int) -> tuple[float, float]:
    """Return the seconds of each; who goes first changes from round to round."""
    if number % 2:
        with_seconds = await with_both.round(fetches)
        return await without.round(fetches), with_seconds
    return await without.round(fetches), await with_both.round(fetches)


def median_ratio(seconds: list[tuple[float, float]]) -> float:
    """Return the median over the rounds: a neighbour that slows a round down slows down both sides of it."""
    return statistics.median(with_both / without for without, with_both in seconds)


def ratio_of_sums(seconds: list[tuple[float, float]]) -> float:
    without, with_both = (sum(side) for side in zip(*seconds, strict=True))
    return with_both / without


if __name__ == "__main__":
    with ctrl_c_is_one_line():
        main()

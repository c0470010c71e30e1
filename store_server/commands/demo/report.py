"""What the demo prints when everything is done: what there was, amounts, seconds, gates, and what was checked."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Final

import numpy as np
import typer

from store_server.commands.demo.gate_strip import gate_strip, levels_for
from store_server.commands.demo.model import NUM_BLOCKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store_server.commands.demo.job import Job
    from store_server.commands.demo.side_by_side import Comparison, Pass

_MAX_WIDTH: Final = 120


def print_report(job: Job, comparison: Comparison) -> None:
    """Print the results on stdout, in characters that it can show."""
    sections = {
        "What there was": _setting(job),
        "What was fetched": _amounts(job, comparison.text),
        "What it took, all batches of the text added up": _seconds(comparison.text),
        "How far each token opens the gate, from 0 to 1": _gates(job, comparison.sentence),
        "What was checked": _checks(job, comparison),
    }
    parts = ["\n".join([title, *(f"  {line}" for line in body)]) for title, body in sections.items()]
    typer.echo(err=True)
    typer.echo(_printable("\n\n".join(parts)))


def _setting(job: Job) -> list[str]:
    import torch

    num_rows = " and ".join(f"{spec.num_rows:,}" for spec in job.specs.values())
    layers = " and ".join(map(str, job.specs))
    width = job.config.hidden_dim
    return [
        f"text       {'' if job.whole_text else 'the beginning of '}{job.text_name}",
        f"tokenizer  DeepSeek V4, {job.vocabulary.size:,} tokens, {job.vocabulary.compressed_size:,} compressed",
        f"tables     {num_rows} rows of {job.config.embedding_dim} bfloat16 numbers, random",
        "node       a process of its own, reached by gRPC on this machine",
        f"model      {NUM_BLOCKS} blocks of width {width}, Engram before {layers}, random weights",
        f"machine    {os.cpu_count()} cores for node and model, {torch.get_num_threads()} threads for torch",
    ]


def _amounts(job: Job, text: list[Pass]) -> list[str]:
    rows = sum(ids.size for batch in text for ids in batch.row_ids.values())
    distinct = sum(_distinct([batch.row_ids[layer] for batch in text]) for layer in job.specs)
    num_bytes = sum(batch.num_bytes for batch in text)
    largest = max(batch.size for batch in job.batches)
    orders, heads = job.config.num_ngram_orders, job.config.num_hash_heads
    looked_up = f"{job.num_tokens:,} tokens x {orders} orders x {heads} heads x {len(job.specs)} layers"
    return [
        f"tokens        {job.num_tokens:>12,}  of the text, in batches of up to {largest:,}",
        f"rows          {rows:>12,}  {looked_up}",
        f"distinct rows {distinct:>12,}  {distinct / rows:.1%} of them",
        f"bytes         {num_bytes:>12,}  {num_bytes // rows:,} a row",
    ]


def _seconds(text: list[Pass]) -> list[str]:
    fetched = sum(batch.fetch_seconds for batch in text)
    waited = sum(batch.waited_seconds for batch in text)
    hidden = max(0.0, 1 - waited / fetched)
    alone = sum(batch.lone_fetch_seconds for batch in text)
    fetches = sum(len(batch.row_ids) for batch in text)
    store, local = sum(batch.store_seconds for batch in text), sum(batch.local_seconds for batch in text)
    return [
        f"fetching      {fetched:>10.3f} s  from asking for rows to having them, {fetches} fetches",
        f"waiting       {waited:>10.3f} s  of it, in which the model stood still for rows",
        f"hidden        {hidden:>10.1%}    of it, behind computing: 1 - waiting / fetching",
        f"fetched alone {alone:>10.3f} s  the same fetches again, nothing else running",
        f"with the node {store:>10.3f} s  the whole model, its rows from the node",
        f"without it    {local:>10.3f} s  the whole model, its rows in its own process",
    ]


def _gates(job: Job, sentence: Pass) -> list[str]:
    gates = {f"layer {layer}": gating[0, :, 0].tolist() for layer, gating in sentence.gates.items()}
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH) - 2
    return [
        *gate_strip(job.sentence_tokens, gates, levels=levels_for(_encoding()), width=width),
        "The weights are random: this shows the mechanism, not knowledge.",
    ]


def _checks(job: Job, comparison: Comparison) -> list[str]:
    passes = [comparison.sentence, *comparison.text]
    rows = sum(ids.size for each in passes for ids in each.row_ids.values())
    return [
        f"hidden states, gates  bit for bit those of tables in process: {_all(len(passes))} batches",
        f"rows fetched          {rows:,} of text and sentence, each twice (while the",
        "                      model ran, and alone): NumPy's rows[ids] as written",
        f"hash                  the client's fingerprint is that of {_all(len(job.specs))} tables",
    ]


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _distinct(row_ids: list[NDArray[np.int64]]) -> int:
    return len(np.unique(np.concatenate([ids.ravel() for ids in row_ids])))


def _printable(text: str) -> str:
    """Return the text with escapes for what stdout has no characters for."""
    return text.encode(_encoding(), "backslashreplace").decode(_encoding())


def _encoding() -> str:
    return sys.stdout.encoding or "ascii"

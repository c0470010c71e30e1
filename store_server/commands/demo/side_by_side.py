"""Batch by batch: rows from the node, then the tables in process, then the fetches with nothing else running."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from store_server.commands.demo.equality import require_equal_outputs, require_equal_rows
from store_server.commands.demo.model import local_model, store_model
from store_server.commands.demo.steps import step
from store_server.commands.demo.tables import ROW_FORMAT, written_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from engram_model import TransformerWithEngram
    from engram_model.transformer import DecoderOutput
    from store_server.commands.demo.job import Job
    from store_server.commands.demo.timed_table import TimedFetch, TimedTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One batch, both ways; the outcomes were equal."""

    row_ids: dict[int, NDArray[np.int64]]
    """Layer id to the rows (sequences, tokens, columns) that were fetched."""
    num_bytes: int
    gates: dict[int, NDArray[np.float32]]
    """Layer id to gating (sequences, tokens, 1)."""
    store_seconds: float
    local_seconds: float
    fetch_seconds: float
    """From issue to arrival, the layers added up; while the model ran."""
    lone_fetch_seconds: float
    """The same while nothing else ran."""
    waited_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that was run."""

    sentence: Pass
    text: list[Pass]


def run_side_by_side(job: Job, tables: Mapping[int, TimedTable]) -> Comparison:
    """Run the sentence, as a warm-up, then the text.

    Raises CommandFailed where the two ways are not equal, bit for bit.
    """
    with step("make a model, and the same with the tables in process"):
        both = BothModels(job, tables)
    with step("run both on a sentence"):
        sentence = both.run(job.sentence)
    with step("run both on the text"):
        text = [both.run(batch) for batch in job.batches]
    return Comparison(sentence=sentence, text=text)


class BothModels:
    """The same weights twice, over the same rows in a store and in process."""

    def __init__(self, job: Job, tables: Mapping[int, TimedTable]) -> None:
        from engram_client.formats import decode

        token_map = job.vocabulary.token_map
        self._tables = tables
        self._rows = {layer: written_rows(layer, spec) for layer, spec in job.specs.items()}
        self._with_store = store_model(job.config, token_map, tables)
        decoded = {layer: decode(rows, ROW_FORMAT) for layer, rows in self._rows.items()}
        self._with_local = local_model(self._with_store, job.config, token_map, decoded)

    def run(self, token_ids: NDArray[np.int64]) -> Pass:
        """Take token ids (sequences, tokens) through both models and compare what comes out."""
        from_store, store_seconds = _timed(self._with_store, token_ids)
        fetches = {layer: cast("TimedFetch", table.last_fetch) for layer, table in self._tables.items()}
        in_process, local_seconds = _timed(self._with_local, token_ids)
        lone_fetches = self._fetch_alone(fetches)
        require_equal_outputs(from_store, in_process)
        require_equal_rows(fetches, self._rows)
        require_equal_rows(lone_fetches, self._rows)
        return Pass(
            row_ids={layer: fetch.ids for layer, fetch in fetches.items()},
            num_bytes=sum(fetch.result().nbytes for fetch in fetches.values()),
            gates={layer: gating.numpy() for layer, gating in from_store.gating.items()},
            store_seconds=store_seconds,
            local_seconds=local_seconds,
            fetch_seconds=sum(fetch.seconds for fetch in fetches.values()),
            lone_fetch_seconds=sum(fetch.seconds for fetch in lone_fetches.values()),
            waited_seconds=sum(from_store.waited_seconds.values()),
        )

    def _fetch_alone(self, fetches: Mapping[int, TimedFetch]) -> dict[int, TimedFetch]:
        """Fetch once more what the model fetched, for all layers at once as it does."""
        again = {layer: self._tables[layer].prefetch(fetch.ids) for layer, fetch in fetches.items()}
        for fetch in again.values():
            fetch.result()
        return again


def _timed(model: TransformerWithEngram, token_ids: NDArray[np.int64]) -> tuple[DecoderOutput, float]:
    import torch

    started = time.perf_counter()
    with torch.inference_mode():
        output: DecoderOutput = model(torch.from_numpy(token_ids))
    return output, time.perf_counter() - started

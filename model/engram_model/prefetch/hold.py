"""Fetching the rows of a layer that are to be held on the devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from engram_client.errors import EngramError
from engram_model.prefetch.hot_rows import HotRows, most_frequent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engram_model.prefetch.settings import PrefetchSettings
    from engram_model.store_memory import FetchTerms, StoreMemory


class HeldLayer(NamedTuple):
    """Whose rows are held, and where; and how many a call of the layer may ask for, with the settings' time limit."""

    layer_id: int
    memory: StoreMemory
    devices: Sequence[torch.device]
    rows_a_call: int


def hold_most_frequent(layer: HeldLayer, rows: NDArray[np.int64], settings: PrefetchSettings) -> HotRows | None:
    """Return as many of the most frequent `rows` as fit into the settings' hot_bytes; None if none repeats.

    Raises what `Prefetcher.hold_frequent_rows` does.
    """
    memory = layer.memory
    while True:
        terms = memory.terms()
        ids = most_frequent(rows, _most_rows(layer.layer_id, terms, settings.hot_bytes))
        try:
            rows_of_ids = _fetch(layer, terms, ids, settings.timeout_seconds)
        except EngramError as error:
            if not memory.terms_hold(terms):
                continue  # the table moved meanwhile, and may have refused the ids or the width of the rows
            raise type(error)(
                f"{len(ids)} rows of layer {layer.layer_id} were to be held (hot_bytes = {settings.hot_bytes}), "
                f"fetched {layer.rows_a_call} at a time, as many as a call may ask for: {error}"
            ) from error
        if rows_of_ids is not None:
            break
    return HotRows(ids, torch.from_numpy(rows_of_ids), layer.devices, terms) if len(ids) else None


def _most_rows(layer_id: int, terms: FetchTerms, hot_bytes: int) -> int:
    if terms.version is None:
        raise ValueError(f"the table of layer {layer_id} does not tell its version, so no row of it can be held")
    if hot_bytes < terms.row_bytes:
        raise ValueError(f"hot_bytes must hold a row of layer {layer_id}, {terms.row_bytes} bytes, got {hot_bytes}")
    return hot_bytes // terms.row_bytes


def _fetch(
    layer: HeldLayer, terms: FetchTerms, ids: NDArray[np.int64], timeout_seconds: float
) -> NDArray[np.uint8] | None:
    """Return rows (len(ids), row_bytes), each piece within the time limit; None if the table moved meanwhile."""
    rows = np.empty((len(ids), terms.row_bytes), np.uint8)
    for start in range(0, len(ids), layer.rows_a_call):
        piece = slice(start, start + layer.rows_a_call)
        layer.memory.row_source().prefetch(ids[piece], out=rows[piece], timeout=timeout_seconds).result()
        if not layer.memory.terms_hold(terms):
            return None
    return rows

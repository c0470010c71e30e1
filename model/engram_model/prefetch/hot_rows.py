"""The most frequent rows of one layer, held on the device: what is there need not be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch

from engram_client.multiplicative_hash import places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from engram_model.store_memory import FetchTerms

_SLOTS_A_ROW: Final = 8


class Split(NamedTuple):
    """Row numbers (n,), parted into those that are held and those to be asked for."""

    missing: NDArray[np.int64]
    """Row numbers to ask for."""
    held: NDArray[np.int32]
    """Where the others lie among the rows held."""
    places: NDArray[np.int32]
    """(n,), where each row lies among the missing, and behind them the held."""


class HotRows:
    """Rows of one version of a table, as the bytes that the store sends, so that no data type changes a result.

    Args:
        ids: row numbers, each once.
        rows: uint8 (len(ids), row_bytes), their bytes.
        devices: where to hold them, a copy each.
        terms: of the version that they were read from.
    """

    def __init__(
        self, ids: NDArray[np.int64], rows: Tensor, devices: Sequence[torch.device], terms: FetchTerms
    ) -> None:
        self._facts = terms.facts
        self._copies = {device: rows.to(device) for device in devices}
        self._ids = ids
        self._bits = max(1, len(ids) * _SLOTS_A_ROW).bit_length()
        # One row a slot: of two that meet in one the later is found, the other asked for as if it were not held.
        self._index = np.zeros(1 << self._bits, np.int32)
        self._index[places_of(ids, self._bits)] = np.arange(len(ids), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._ids)

    def are_of(self, terms: FetchTerms) -> bool:
        """Tell whether the rows are those of the table as it is now."""
        return self._facts == terms.facts

    def on(self, device: torch.device) -> Tensor | None:
        """Return the rows held on a device; None if there are none."""
        return self._copies.get(device)

    def split(self, ids: NDArray[np.int64]) -> Split:
        """Part row numbers of any shape."""
        flat = ids.reshape(-1)
        candidates = self._index[places_of(flat, self._bits)]
        is_held = self._ids[candidates] == flat
        missing, held = flat[~is_held], candidates[is_held]
        places = np.empty(len(flat), np.int32)
        places[~is_held] = np.arange(len(missing), dtype=np.int32)
        places[is_held] = np.arange(len(missing), len(flat), dtype=np.int32)
        return Split(missing, held, places)


def most_frequent(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return the row numbers that occur most often, each once, at most `limit`; those that occur once are left out."""
    ids, counts = np.unique(rows, return_counts=True)
    repeated = np.flatnonzero(counts > 1)
    return ids[repeated[np.argsort(-counts[repeated], kind="stable")[:limit]]]


def put_together(fetched: Tensor, held: Tensor, which: Tensor, places: Tensor) -> Tensor:
    """Return rows uint8 (n, row_bytes) of what was fetched and what is held, all on one device.

    Args:
        fetched: uint8 (missing, row_bytes).
        held: uint8 (rows held, row_bytes).
        which: int32, which of the rows held are wanted.
        places: int32 (n,), as `Split` has them.
    """
    return torch.cat([fetched, held.index_select(0, which)]).index_select(0, places)

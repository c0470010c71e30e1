"""Where a fetch lands: one slot of the ring, laid out for all ranks, with what each needs to read its part."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final, NamedTuple

import torch

from engram_model.prefetch.device_copy import make_copier
from engram_model.prefetch.ring import StagingRing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from engram_model.prefetch.asked import Asked, Share
    from engram_model.prefetch.device_copy import Copier
    from engram_model.prefetch.issue import Rank
    from engram_model.prefetch.ring import Slot
    from engram_model.prefetch.settings import PrefetchSettings

_INVERSE_BYTES: Final = 4  # of an int32
_ALIGNMENT: Final = 16


class Part(NamedTuple):
    """What one rank reads of a fetch."""

    copier: Copier
    rows: Tensor
    """uint8 (B, T, columns, row_bytes), or (distinct, width, row_bytes) to be unfolded: a view of the slot."""
    inverse: Tensor | None
    """int32 (B, T, columns / width), which of the distinct ones each unit of columns is: a view of the slot."""
    shape: tuple[int, ...]
    """(B, T, columns), as the layer reads them."""

    def pieces(self) -> list[Tensor]:
        """Return what must come to the device."""
        return [self.rows] if self.inverse is None else [self.rows, self.inverse]


class Staged(NamedTuple):
    """A slot made ready for a fetch."""

    slot: Slot
    out: NDArray[np.uint8]
    """(*ids.shape, row_bytes), where the rows are to be written."""
    parts: list[Part]
    """By rank."""


class Staging:
    """Lends slots that are laid out: all rows first, then the inverse of each rank that unfolds its rows."""

    def __init__(self, ranks: Sequence[Rank], settings: PrefetchSettings, widest_row_bytes: int) -> None:
        num_layers = len(ranks[0].modules)
        num_columns = sum(len(rank.columns) for rank in ranks)
        inverse_bytes = 0 if settings.deduplicate == "never" else _INVERSE_BYTES
        slack = _ALIGNMENT * len(ranks) if inverse_bytes else 0
        self._num_slots = settings.num_slots or 2 * num_layers
        self.ring = StagingRing(
            self._num_slots if num_layers else 0,
            settings.max_tokens * num_columns * (widest_row_bytes + inverse_bytes) + slack,
            settings.slot_wait_seconds,
            pinned=torch.cuda.is_available(),
        )
        self._copiers: dict[tuple[int, torch.device], Copier] = {}

    def lend(self, asked: Asked, row_bytes: int, devices: Sequence[torch.device]) -> Staged:
        """Return a slot for what is asked, on its way to each rank's device.

        Raises:
            ValueError: a slot has no room for rows of that width.
            RingFull: none came free within the limit.
        """
        num_bytes = asked.ids.size * row_bytes
        inverse_starts, end = _inverse_starts(asked, num_bytes)
        if end > self.ring.slot_bytes:
            raise ValueError(
                f"the rows take {end} bytes, a staging buffer has {self.ring.slot_bytes}: the table's rows have "
                "become wider since the Prefetcher was made, make a new one"
            )
        slot = self.ring.lend()
        try:
            parts = [
                self._part(rank, slot, share, row_bytes, inverse_starts[rank], device)
                for rank, (share, device) in enumerate(zip(asked.shares, devices, strict=True))
            ]
        except BaseException:
            self.ring.give_back(slot, is_quiet=_at_once)
            raise
        return Staged(slot, slot.array[:num_bytes].reshape(*asked.ids.shape, row_bytes), parts)

    def _part(
        self, rank: int, slot: Slot, share: Share, row_bytes: int, inverse_start: int, device: torch.device
    ) -> Part:
        start, end = share.first * row_bytes, (share.first + prod(share.shape)) * row_bytes
        rows = slot.memory[start:end].view(*share.shape, row_bytes)
        inverse = None
        if share.inverse is not None:
            inverse_end = inverse_start + share.inverse.nbytes
            inverse = slot.memory[inverse_start:inverse_end].view(torch.int32).view(share.inverse.shape)
            inverse.numpy()[...] = share.inverse
        return Part(self._copier(rank, device), rows, inverse, share.unfolded_shape)

    def _copier(self, rank: int, device: torch.device) -> Copier:
        copier = self._copiers.get((rank, device))
        if copier is None:
            copier = self._copiers[rank, device] = make_copier(device, self._num_slots, self.ring.slot_bytes)
        return copier


def _inverse_starts(asked: Asked, start: int) -> tuple[list[int], int]:
    """Return where each rank's inverse begins, behind the rows, and where the last ends."""
    starts, end = [], start
    for share in asked.shares:
        starts.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
        end = end if share.inverse is None else starts[-1] + share.inverse.nbytes
    return starts, end


def _at_once() -> bool:
    return True

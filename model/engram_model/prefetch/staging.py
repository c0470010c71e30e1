"""Where a fetch lands: one slot of the ring, laid out for all ranks, with what each needs to read its part."""

from __future__ import annotations

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
    from engram_model.prefetch.hot_rows import HotRows
    from engram_model.prefetch.issue import Rank
    from engram_model.prefetch.ring import Slot
    from engram_model.prefetch.settings import PrefetchSettings

_NUMBER_BYTES: Final = 4  # of an int32
_ALIGNMENT: Final = 16


class Part(NamedTuple):
    """What one rank reads of a fetch."""

    copier: Copier
    rows: Tensor
    """uint8 (sent, row_bytes), a view of the slot."""
    numbers: list[Tensor]
    """int32, views of the slot: the share's numbers."""
    share: Share
    held: Tensor | None
    """uint8 (rows held, row_bytes), on the rank's device, if the share leaves rows out."""

    def pieces(self) -> list[Tensor]:
        """Return what must come to the device."""
        return [self.rows, *self.numbers]


class Staged(NamedTuple):
    """A slot made ready for a fetch."""

    slot: Slot
    out: NDArray[np.uint8]
    """(*ids.shape, row_bytes), where the rows are to be written."""
    parts: list[Part]
    """By rank."""


class Staging:
    """Lends slots that are laid out: all rows first, then the numbers of each rank."""

    def __init__(self, ranks: Sequence[Rank], settings: PrefetchSettings, widest_row_bytes: int) -> None:
        num_layers = len(ranks[0].modules)
        num_columns = sum(len(rank.columns) for rank in ranks)
        numbers_a_row = int(settings.deduplicate != "never") + 2 * int(settings.hot_bytes > 0)
        slack = _ALIGNMENT * len(ranks) * numbers_a_row
        self._num_slots = settings.num_slots or 2 * num_layers
        if self._num_slots < num_layers:
            raise ValueError(
                f"num_slots must be at least {num_layers}, the layers whose tables are in a store, as a call needs a "
                f"staging buffer for each; got {self._num_slots}"
            )
        self.ring = StagingRing(
            self._num_slots if num_layers else 0,
            settings.max_tokens * num_columns * (widest_row_bytes + _NUMBER_BYTES * numbers_a_row) + slack,
            settings.slot_wait_seconds,
            pinned=torch.cuda.is_available(),
        )
        self._copiers: dict[tuple[int, torch.device], Copier] = {}

    def lend(self, asked: Asked, row_bytes: int, devices: Sequence[torch.device], hot: HotRows | None) -> Staged:
        """Return a slot for what is asked, on its way to each rank's device, where `hot` are held.

        Raises:
            ValueError: a slot has no room for rows of that width.
            RingFull: none came free within the limit.
        """
        num_bytes = asked.ids.size * row_bytes
        starts, end = _number_starts(asked, num_bytes)
        if end > self.ring.slot_bytes:
            raise ValueError(
                f"the rows take {end} bytes, a staging buffer has {self.ring.slot_bytes}: the table's rows have "
                "become wider since the Prefetcher was made, make a new one"
            )
        slot = self.ring.lend()
        try:
            parts = [
                self._part(rank, slot, share, row_bytes, starts[rank], device, hot)
                for rank, (share, device) in enumerate(zip(asked.shares, devices, strict=True))
            ]
        except BaseException:
            self.ring.give_back(slot)
            raise
        return Staged(slot, slot.array[:num_bytes].reshape(*asked.ids.shape, row_bytes), parts)

    def _part(
        self,
        rank: int,
        slot: Slot,
        share: Share,
        row_bytes: int,
        number_starts: list[int],
        device: torch.device,
        hot: HotRows | None,
    ) -> Part:
        start, end = share.first * row_bytes, (share.first + share.num_sent) * row_bytes
        rows = slot.memory[start:end].view(share.num_sent, row_bytes)
        numbers = []
        for number_start, values in zip(number_starts, share.numbers, strict=True):
            staged = slot.memory[number_start : number_start + values.nbytes].view(torch.int32).view(values.shape)
            staged.numpy()[...] = values
            numbers.append(staged)
        held = None if hot is None or share.split is None else hot.on(device)
        return Part(self._copier(rank, device), rows, numbers, share, held)

    def _copier(self, rank: int, device: torch.device) -> Copier:
        copier = self._copiers.get((rank, device))
        if copier is None:
            copier = self._copiers[rank, device] = make_copier(device, self._num_slots, self.ring.slot_bytes)
        return copier


def _number_starts(asked: Asked, end: int) -> tuple[list[list[int]], int]:
    """Return where each rank's numbers begin, behind the rows, and where the last of them end."""
    starts: list[list[int]] = []
    for share in asked.shares:
        starts.append([])
        for values in share.numbers:
            starts[-1].append(-(-end // _ALIGNMENT) * _ALIGNMENT)
            end = starts[-1][-1] + values.nbytes
    return starts, end

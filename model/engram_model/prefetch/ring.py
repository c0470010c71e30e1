"""A ring of staging buffers: memory that fetches write into, used again and again."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import torch

from engram_model.prefetch.metrics import RingStats

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_SECONDS_BETWEEN_LOOKS: Final = 0.001  # at what still uses a slot that was given back: a device tells nobody


class RingFull(TimeoutError):
    """No staging buffer came free in time."""


class Slot:
    """One staging buffer."""

    __slots__ = ("array", "index", "memory")

    def __init__(self, index: int, memory: Tensor) -> None:
        self.index = index
        self.memory = memory
        """uint8 (slot_bytes,) on the host; pinned where there is CUDA."""
        self.array: NDArray[np.uint8] = memory.numpy()
        """The same, for those who write into it."""


class StagingRing:
    """Lends slots; one that was given back is lent again only when nothing writes into it or reads it any more.

    Args:
        num_slots: buffers.
        slot_bytes: size of each.
        wait_seconds: how long `lend` waits for one.
        pinned: whether a device is to copy from them while the host goes on.
    """

    def __init__(self, num_slots: int, slot_bytes: int, wait_seconds: float, *, pinned: bool) -> None:
        self.slot_bytes = slot_bytes
        self._num_slots = num_slots
        self._wait_seconds = wait_seconds
        with torch.inference_mode(mode=False):  # such tensors could be written in that mode only
            self._free = deque(
                Slot(index, torch.empty(slot_bytes, dtype=torch.uint8, device="cpu", pin_memory=pinned))
                for index in range(num_slots)
            )
        self._resting: list[tuple[Slot, Callable[[], bool]]] = []
        self._changed = threading.Condition()
        self._most_in_use = 0
        self._waits = 0
        self._waited_seconds = 0.0

    def lend(self) -> Slot:
        """Return a slot of which nobody else knows.

        Raises:
            RingFull: none came free within the limit.
        """
        with self._changed:
            self._collect()
            if not self._free:
                self._wait_for_one()
            slot = self._free.popleft()
            self._most_in_use = max(self._most_in_use, self._num_slots - len(self._free))
            return slot

    def give_back(self, slot: Slot, is_quiet: Callable[[], bool] | None = None) -> None:
        """Take a slot back; `is_quiet` tells whether nothing writes into it or reads it any more.

        Without, nothing ever did.
        """
        with self._changed:
            if is_quiet is None:
                self._free.append(slot)
            else:
                self._resting.append((slot, is_quiet))
            self._collect()
            self._changed.notify()

    def stats(self) -> RingStats:
        """Return how the ring has been used so far."""
        with self._changed:
            self._collect()
            return RingStats(
                num_slots=self._num_slots,
                slot_bytes=self.slot_bytes,
                in_use=self._num_slots - len(self._free),
                most_in_use=self._most_in_use,
                waits=self._waits,
                waited_seconds=self._waited_seconds,
            )

    def _collect(self) -> None:
        """Move the slots that have come to rest to the free ones."""
        still: list[tuple[Slot, Callable[[], bool]]] = []
        for slot, is_quiet in self._resting:
            if is_quiet():
                self._free.append(slot)
            else:
                still.append((slot, is_quiet))
        self._resting = still

    def _wait_for_one(self) -> None:
        started = time.perf_counter()
        self._waits += 1
        while not self._free:
            waited = time.perf_counter() - started
            remaining = self._wait_seconds - waited
            if remaining <= 0:
                self._waited_seconds += waited
                raise RingFull(self._why_full())
            self._changed.wait(min(remaining, _SECONDS_BETWEEN_LOOKS) if self._resting else remaining)
            self._collect()
        self._waited_seconds += time.perf_counter() - started

    def _why_full(self) -> str:
        resting = len(self._resting)
        return (
            f"none of {self._num_slots} staging buffers came free within {self._wait_seconds:g} s: "
            f"{self._num_slots - resting} hold rows that no layer has taken yet, {resting} are still written or read "
            "after they were given back. Take or discard the rows of earlier calls, or raise num_slots"
        )

"""Where the layers read their embeddings: the same memory at every turn, so that a captured graph can read it."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor


class FixedOutput:
    """One layer's embeddings at one address: those of any shape start at the start of one buffer.

    Args:
        num_elements: of the buffer, the most that one call can ask for.
    """

    def __init__(self, num_elements: int) -> None:
        self._num_elements = num_elements
        self._buffer: Tensor | None = None
        self._last_view: Tensor | None = None
        self._turn = 0

    def view(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return the buffer as a tensor of a shape, with the device and data type of `like`.

        It is made anew, elsewhere, only when that is another device or data type than the last time.
        """
        last = self._last_view  # decode steps ask for the same again and again
        if last is not None and last.shape == shape and _is_like(last, like):
            return last
        if self._buffer is None or not _is_like(self._buffer, like):
            with torch.inference_mode(mode=False):  # such tensors could be written in that mode only
                self._buffer = torch.empty(self._num_elements, device=like.device, dtype=like.dtype)
        self._last_view = self._buffer[: prod(shape)].view(shape)
        return self._last_view

    def next_turn(self) -> int:
        """Hand the buffer on to a call's rows; return the number that stands for them."""
        self._turn += 1
        return self._turn

    def holds(self, turn: int) -> bool:
        """Tell whether what `next_turn` gave that number is still in the buffer."""
        return self._turn == turn


def _is_like(tensor: Tensor, other: Tensor) -> bool:
    return tensor.dtype == other.dtype and tensor.device == other.device

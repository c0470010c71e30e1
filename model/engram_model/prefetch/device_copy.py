"""From a staging buffer to where a layer computes, beside what the device is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from engram_model.prefetch.ring import Slot


class DeviceCopy(Protocol):
    """Rows on their way from a slot to a device."""

    def hand_over(self) -> Tensor:
        """Return the rows on the device; what the current stream is given from now on finds them there."""
        ...

    def was_read(self) -> None:
        """Say that all that reads the rows was given to the current stream."""
        ...

    def is_over(self) -> bool:
        """Tell whether neither slot nor copy is read any more; a copy that was never handed over is not waited for."""
        ...


class Copier(Protocol):
    """A way to one device."""

    device: torch.device

    def copy(self, slot: Slot, rows: Tensor) -> DeviceCopy:
        """Start to copy rows, a contiguous view of a slot; may be called by any thread."""
        ...


def make_copier(device: torch.device, num_slots: int, slot_bytes: int) -> Copier:
    """Return the way to a device."""
    return CudaCopier(device, num_slots, slot_bytes) if device.type == "cuda" else HostCopier(device)


class HostCopier:
    """The way to a layer on the host: none, it decodes the rows where they landed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def copy(self, slot: Slot, rows: Tensor) -> HostCopy:  # noqa: ARG002  the interface's
        """Return the rows themselves."""
        return HostCopy(rows)


class HostCopy:
    """Rows that are where they are needed."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows

    def hand_over(self) -> Tensor:
        """Return the rows."""
        return self._rows

    def was_read(self) -> None:
        """Do nothing: what the host was told to read, it has read."""

    def is_over(self) -> bool:
        """Tell that nothing goes on."""
        return True


class CudaCopier:
    """A side stream to one CUDA device, and a buffer there for every slot.

    A slot's buffer on the device is written again only after the slot was lent again, and so not before `is_over`.
    """

    def __init__(self, device: torch.device, num_slots: int, slot_bytes: int) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.inference_mode(mode=False):
            self._buffers = torch.empty(num_slots, slot_bytes, dtype=torch.uint8, device=device)
        # The allocator may have handed out memory that the current stream has not finished with.
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def copy(self, slot: Slot, rows: Tensor) -> CudaCopy:
        """Start the copy on the side stream."""
        target = self._buffers[slot.index, : rows.numel()].view(rows.shape)
        with torch.cuda.stream(self._stream), torch.inference_mode():  # nothing here is ever differentiated
            target.copy_(rows, non_blocking=True)
            return CudaCopy(target, self._stream.record_event())


class CudaCopy:
    """Rows on their way to a CUDA device."""

    def __init__(self, rows: Tensor, copied: torch.cuda.Event) -> None:
        self._rows = rows
        self._last = copied

    def hand_over(self) -> Tensor:
        """Have the current stream wait for the copy; the host does not."""
        torch.cuda.current_stream(self._rows.device).wait_event(self._last)
        return self._rows

    def was_read(self) -> None:
        """Note how far the current stream must come."""
        self._last = torch.cuda.current_stream(self._rows.device).record_event()

    def is_over(self) -> bool:
        """Tell whether the device has passed the copy, and what was read."""
        return bool(self._last.query())  # type: ignore[no-untyped-call]

"""From a staging buffer to where a layer computes, beside what the device is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from engram_model.prefetch.ring import Slot


class DeviceCopy(Protocol):
    """Pieces of a slot on their way to a device."""

    def hand_over(self) -> list[Tensor]:
        """Return the pieces on the device; what the current stream is given from now on finds them there."""
        ...

    def was_read(self) -> None:
        """Say that all that reads the pieces was given to the current stream."""
        ...

    def is_over(self) -> bool:
        """Tell whether neither slot nor copy is read any more; a copy that was never handed over is not waited for."""
        ...


class Copier(Protocol):
    """A way to one device."""

    device: torch.device

    def copy(self, slot: Slot, pieces: list[Tensor]) -> DeviceCopy:
        """Start to copy pieces, contiguous views of different parts of a slot; may be called by any thread."""
        ...


def make_copier(device: torch.device, num_slots: int, slot_bytes: int) -> Copier:
    """Return the way to a device."""
    return CudaCopier(device, num_slots, slot_bytes) if device.type == "cuda" else HostCopier(device)


class HostCopier:
    """The way to a layer on the host: none, it decodes the rows where they landed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def copy(self, slot: Slot, pieces: list[Tensor]) -> HostCopy:  # noqa: ARG002  the interface's
        """Return the pieces themselves."""
        return HostCopy(pieces)


class HostCopy:
    """Pieces that are where they are needed."""

    def __init__(self, pieces: list[Tensor]) -> None:
        self._pieces = pieces

    def hand_over(self) -> list[Tensor]:
        """Return the pieces."""
        return self._pieces

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

    def copy(self, slot: Slot, pieces: list[Tensor]) -> CudaCopy:
        """Start the copies on the side stream; on the device every piece lies where it lies in the slot."""
        buffer, targets = self._buffers[slot.index], []
        with torch.cuda.stream(self._stream), torch.inference_mode():  # nothing here is ever differentiated
            for piece in pieces:
                start = piece.storage_offset() * piece.element_size()
                target = buffer[start : start + piece.nbytes].view(piece.dtype).view(piece.shape)
                targets.append(target.copy_(piece, non_blocking=True))
            return CudaCopy(targets, self._stream.record_event())


class CudaCopy:
    """Pieces on their way to a CUDA device."""

    def __init__(self, pieces: list[Tensor], copied: torch.cuda.Event) -> None:
        self._pieces = pieces
        self._device = pieces[0].device
        self._last = copied

    def hand_over(self) -> list[Tensor]:
        """Have the current stream wait for the copies; the host does not."""
        torch.cuda.current_stream(self._device).wait_event(self._last)
        return self._pieces

    def was_read(self) -> None:
        """Note how far the current stream must come."""
        self._last = torch.cuda.current_stream(self._device).record_event()

    def is_over(self) -> bool:
        """Tell whether the device has passed the copy, and what was read."""
        return bool(self._last.query())  # type: ignore[no-untyped-call]

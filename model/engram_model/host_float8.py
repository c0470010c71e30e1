"""Rows of E4M3 bytes with E8M0 scales straight into bfloat16 on the CPU, a piece that fits its cache at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from engram_client.formats import E8M0_VALUES, BlockScaledFloat8Rows
from engram_client.formats.e4m3 import look_up_e4m3_as_bfloat16

if TYPE_CHECKING:
    from torch import Tensor

_GROUP_WIDTH: Final = BlockScaledFloat8Rows.group_width
_VALUES_AT_A_TIME: Final = 1 << 17


def decode_as_bfloat16(rows: Tensor, out: Tensor) -> None:
    """Write the values of uint8 rows (..., row_bytes) into `out`, contiguous bfloat16 (..., width).

    They are those that float32 gives when it is rounded: codes and scales are exact in bfloat16, and a product has no
    more digits than its code, so that it is rounded once, and only where it is too small. torch's own conversion of
    E4M3 takes a byte at a time on most processors; its multiplication does not.
    """
    width = out.shape[-1]
    if not out.numel():
        return
    flat = rows.numpy().reshape(-1, rows.shape[-1])
    if flat.strides[-1] != 1:
        flat = np.ascontiguousarray(flat)
    values = out.view(len(flat), width)
    bits = values.view(torch.int16).numpy().view(np.uint16)  # NumPy knows no bfloat16
    scales = torch.from_numpy(E8M0_VALUES.take(flat[:, width:])).to(out.dtype).unsqueeze(-1)  # (rows, groups, 1)
    step = max(1, _VALUES_AT_A_TIME // width)
    for piece in (slice(first, first + step) for first in range(0, len(flat), step)):
        look_up_e4m3_as_bfloat16(flat[piece, :width], bits[piece])
        values[piece].view(-1, width // _GROUP_WIDTH, _GROUP_WIDTH).mul_(scales[piece])

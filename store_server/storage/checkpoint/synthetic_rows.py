"""The rows of made-up checkpoints: any of them can be computed from its number alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.storage.checkpoint.layout import COLUMNS_A_SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LAYER_STEP: Final = 0xD1B54A32D192ED03
_ROW_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_WORD_STEP: Final = np.uint64(0x8CB92BA72F3D8DD7)


def synthetic_rows(rows: NDArray[np.int64], layer: int, head_dim: int) -> NDArray[np.uint8]:
    """Return packed rows by number, (n,) int64 to (n, head_dim + head_dim / 32) uint8: E4M3 bytes, then E8M0 bytes.

    All in 64 bits, wrapping around: word k of row i of a layer is mix(layer * 0xD1B54A32D192ED03 + i *
    0x9E3779B97F4A7C15 + k * 0x8CB92BA72F3D8DD7), where mix(z) is the finalizer of SplitMix64: z = (z ^ z >> 30) *
    0xBF58476D1CE4E5B9; z = (z ^ z >> 27) * 0x94D049BB133111EB; z ^ z >> 31. Words are little-endian; the last is cut.
    So that all values are numbers, an E4M3 byte of 0x7F or 0xFF (NaN) is one less, and an E8M0 byte is 112 plus the
    lower four bits: scales of 2^-15 to 1.
    """
    row_bytes = head_dim + head_dim // COLUMNS_A_SCALE
    words = np.arange(-(-row_bytes // 8), dtype=np.uint64) * _WORD_STEP
    starts = rows.astype(np.uint64) * _ROW_STEP + np.uint64(layer * _LAYER_STEP % (1 << 64))  # (n,)
    mixed = _mix(starts[:, None] + words).astype("<u8", copy=False)  # (n, words)
    content = mixed.view(np.uint8)[:, :row_bytes].copy()
    weights, scales = content[:, :head_dim], content[:, head_dim:]
    weights -= (weights & 0x7F) == 0x7F
    scales &= 0x0F
    scales += 112
    return content


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)

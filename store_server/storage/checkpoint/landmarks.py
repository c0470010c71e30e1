"""The rows of a sparse checkpoint that are real: those where 32-bit arithmetic would go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_STEP: Final = 1 << 31  # every second one is a multiple of 2^32
_BEFORE, _AFTER = 2, 2


def landmark_rows(
    num_rows: int, segments: Sequence[tuple[int, int]], head_starts: Iterable[int] = ()
) -> NDArray[np.int64]:
    """Return rows in rising order: two on either side of each place, as far as there are any.

    Places are both ends of the table; every multiple of 2^31 in row numbers, in bytes of the packed table, and in bytes
    of each segment, counted from its own beginning and from the file's; and the first row of each head. `segments`:
    for each the byte of its file at which it begins, and its bytes a row.
    """
    row_bytes = sum(width for _, width in segments)
    places = [0, num_rows, *head_starts]
    places += [byte // row_bytes for byte in range(_STEP, num_rows * row_bytes, _STEP)]
    places += range(_STEP, num_rows, _STEP)
    for offset, width in segments:
        places += [byte // width for byte in range(_STEP, num_rows * width, _STEP)]
        places += [
            (byte - offset) // width for byte in range(_STEP, offset + num_rows * width, _STEP) if byte >= offset
        ]
    around = np.array(places, np.int64)[:, None] + np.arange(-_BEFORE, _AFTER)  # (places, rows)
    return np.unique(around[(around >= 0) & (around < num_rows)])

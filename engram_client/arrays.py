"""Row numbers in, rows out: the checks at the border between a caller's arrays and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engram_client.errors import InvalidBuffer, InvalidIds, RowOutOfRange

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Ids: TypeAlias = "ArrayLike"  # or anything that np.asarray takes without a copy, such as a torch tensor on the CPU
Int64Array: TypeAlias = NDArray[np.int64]
Uint8Array: TypeAlias = NDArray[np.uint8]


def as_rows(ids: Ids, num_rows: int, table: str) -> Int64Array:
    """Return `ids` of any integer type and shape as a fresh int64 array of the same shape, each in [0, num_rows).

    Fresh, because a prefetch goes on after the caller has its array back. Raises InvalidIds or RowOutOfRange.
    """
    try:
        given = np.asarray(ids)
    except ValueError as error:  # lists of different lengths
        raise InvalidIds(f"row numbers must be integers in an array, got none for table {table!r}: {error}") from error
    if given.size == 0 and not hasattr(ids, "dtype"):
        return np.empty(given.shape, np.int64)  # an empty list has no type of its own
    if given.dtype.kind not in "iu":
        raise InvalidIds(f"row numbers must be integers, got an array of {given.dtype} for table {table!r}")
    rows = np.array(given, np.int64, order="C")
    if given.size:
        # As unsigned numbers, of which a negative one is the highest. By argmax: min and max are ufuncs, whose
        # machinery takes longer than a small lookup's rows.
        numbers = rows.reshape(-1).view(np.uint64)
        if numbers[numbers.argmax()] >= num_rows:
            low, high = int(given.min()), int(given.max())
            raise RowOutOfRange(
                f"table {table!r} has {num_rows} rows (0 to {num_rows - 1}), got {low if low < 0 else high}"
            )
    return rows


def as_output(out: Uint8Array | None, shape: tuple[int, ...]) -> Uint8Array:
    """Return `out` once it is found fit to take rows of `shape`, or a new array; raises InvalidBuffer."""
    if out is None:
        return np.empty(shape, np.uint8)
    if not isinstance(out, np.ndarray):
        raise InvalidBuffer(f"out must be a NumPy array of uint8, got {type(out).__name__}")
    if out.dtype != np.uint8 or out.shape != shape:
        raise InvalidBuffer(f"out must be uint8 of shape {shape}, got {out.dtype} of shape {out.shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidBuffer("out must be C-contiguous and writable")
    return out

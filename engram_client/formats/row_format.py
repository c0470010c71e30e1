"""What every row format can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32Array: TypeAlias = NDArray[np.float32]
    Float64Array: TypeAlias = NDArray[np.float64]
    Uint8Array: TypeAlias = NDArray[np.uint8]

    Item = TypeVar("Item", bound=np.generic)


class RowFormat(Protocol):
    """What the bytes of a row mean. Rows consist of groups of values that cannot be told apart by themselves."""

    @property
    def name(self) -> str:
        """How the format is written down with a table."""
        ...

    @property
    def group_bytes(self) -> int:
        """The fewest bytes that stand for whole values; a row is a multiple of it."""
        ...

    @property
    def group_width(self) -> int:
        """The values in that many bytes."""
        ...

    def decode(self, rows: Uint8Array, out: Float32Array) -> None:
        """Write the values of rows whose last axis is contiguous into `out`, C-contiguous (..., width)."""
        ...

    def encode(self, values: Float32Array) -> Uint8Array:
        """Return C-contiguous values (..., width) as rows; raises Unstorable."""
        ...


class Unstorable(ValueError):
    """A format has no bytes for a value. `row` counts from 0 over all leading axes, `column` within the row."""

    def __init__(self, row_format: str, row: int, column: int, value: float, reason: str) -> None:
        self.row_format, self.row, self.column, self.value, self.reason = row_format, row, column, value, reason
        super().__init__(f"row {row}, column {column} is {value!r}: {row_format} {reason}")


def in_groups(array: NDArray[Item], group_width: int) -> NDArray[Item]:
    """Return (..., width) as (..., groups, group_width): a view wherever NumPy can make one."""
    return array.reshape(*array.shape[:-1], array.shape[-1] // group_width, group_width)

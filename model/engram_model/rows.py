"""The bytes of rows as numbers in a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engram_client import formats

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Formats whose bytes are the memory of a tensor: looked at, not converted.
DTYPE_OF_FORMAT = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def decode_rows(rows: NDArray[np.uint8] | Tensor, row_format: str) -> Tensor:
    """Return the numbers in uint8 rows (..., row_bytes) as a tensor (..., elements) that needs no gradient.

    Float rows keep their data type and share memory with `rows` where torch allows it; all others become float32.

    Raises:
        ValueError: the format is unknown, or `row_bytes` is not a width that it can have.
    """
    dtype = DTYPE_OF_FORMAT.get(row_format)
    if dtype is None:
        return torch.from_numpy(formats.decode(np.asarray(rows), row_format))
    if rows.shape[-1] % dtype.itemsize:
        raise ValueError(f"a row of {row_format} is a multiple of {dtype.itemsize} bytes wide, got {rows.shape[-1]}")
    if not isinstance(rows, Tensor):
        rows = torch.from_numpy(np.require(rows, requirements=["C", "W"]))  # torch knows no read-only memory
    return rows.view(dtype)

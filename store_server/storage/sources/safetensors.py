"""Rows of a 2-D tensor of a .safetensors file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage.errors import InvalidSource
from store_server.storage.files.safetensors_file import DTYPE_BITS, read_safetensors_file
from store_server.storage.sources.rows_in_file import ROW_FORMATS, RowsInFile

if TYPE_CHECKING:
    from pathlib import Path

# Types whose rows have a format; bytes of the others have no meaning here.
_ROW_FORMATS = {
    "F64": ROW_FORMATS["float64"],
    "F32": ROW_FORMATS["float32"],
    "F16": ROW_FORMATS["float16"],
    "BF16": ROW_FORMATS["bfloat16"],
    "F8_E4M3": ROW_FORMATS["float8_e4m3fn"],
    "F8_E5M2": ROW_FORMATS["float8_e5m2"],
    "I8": ROW_FORMATS["int8"],
    "U8": ROW_FORMATS["uint8"],
}


def safetensors_rows(path: Path, name: str | None) -> RowsInFile:
    """Return the rows of a 2-D tensor, of the only one when `name` is None. Raises InvalidSource."""
    tensors = read_safetensors_file(path).tensors
    tables = {tensor.name: tensor for tensor in tensors.values() if len(tensor.shape) == 2 and tensor.num_bytes}
    listing = ", ".join(f"{tensor.name} {tensor.dtype}{list(tensor.shape)}" for tensor in tables.values()) or "none"
    if name is None and len(tables) != 1:
        raise InvalidSource(f"{path}: name one of the 2-D tensors with --tensor: {listing:.2000}")
    tensor = next(iter(tables.values())) if name is None else tensors.get(name)
    if tensor is None:
        raise InvalidSource(f"{path}: has no tensor {name!r}; its 2-D tensors: {listing:.2000}")
    if tensor.name not in tables:
        raise InvalidSource(
            f"{path}: tensor {tensor.name!r}: expected a 2-D shape without zeros, found {list(tensor.shape)}"
        )
    row_bytes, bits_left = divmod(tensor.shape[1] * DTYPE_BITS[tensor.dtype], 8)
    if bits_left:
        raise InvalidSource(
            f"{path}: tensor {tensor.name!r}: rows must be whole bytes, found {tensor.dtype}{list(tensor.shape)}"
        )
    return RowsInFile(
        path=path,
        offset=tensor.offset,
        num_rows=tensor.shape[0],
        row_bytes=row_bytes,
        row_format=_ROW_FORMATS.get(tensor.dtype, ""),
    )

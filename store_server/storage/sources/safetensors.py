"""The header of a .safetensors file, read with suspicion, and the rows of a 2-D tensor.

The file is 8 bytes (little-endian length of the header), the header (JSON: tensor name to dtype, shape and the begin
and end of its bytes), then the bytes of all tensors, without gaps.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store_server.storage.errors import InvalidSource
from store_server.storage.sources.rows_in_file import ROW_FORMATS, RowsInFile

if TYPE_CHECKING:
    from pathlib import Path

MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
_LENGTH_BYTES = 8
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a file; `offset` counts from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int


def safetensors_rows(path: Path, name: str | None) -> RowsInFile:
    """Return the rows of a 2-D tensor, of the only one when `name` is None. Raises InvalidSource."""
    tensors = read_safetensors_header(path)
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
    return RowsInFile(
        path=path,
        offset=tensor.offset,
        num_rows=tensor.shape[0],
        row_bytes=tensor.shape[1] * _DTYPES[tensor.dtype][0],
        row_format=_DTYPES[tensor.dtype][1],
    )


def read_safetensors_header(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file by name, in the order of their bytes.

    Every claim of the header is checked against the file's size; raises InvalidSource that names file, tensor, expected
    and found.
    """
    file_bytes = path.stat().st_size
    header, data_start = _read_json(path, file_bytes)
    entries = {name: entry for name, entry in header.items() if name != _METADATA}
    tensors = [_tensor(path, name, entry, data_start) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.num_bytes))
    end = data_start
    for tensor in tensors:
        if tensor.offset != end:
            fault = "overlaps the one before it" if tensor.offset < end else "leaves a gap before it"
            raise InvalidSource(
                f"{path}: tensor {tensor.name!r} {fault}: expected it at byte {end}, found {tensor.offset}"
            )
        end += tensor.num_bytes
    if end != file_bytes:
        fault = "truncated" if end > file_bytes else "longer than its tensors"
        raise InvalidSource(f"{path}: {fault}: the header describes {end:,} bytes, the file has {file_bytes:,}")
    return {tensor.name: tensor for tensor in tensors}


def _read_json(path: Path, file_bytes: int) -> tuple[dict[str, Any], int]:
    """Return the header and where the data begins."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        limit = min(MAX_HEADER_BYTES, file_bytes - _LENGTH_BYTES)
        if not 2 <= header_bytes <= limit:
            raise InvalidSource(
                f"{path}: not a .safetensors file: "
                f"expected a header of 2 to {max(limit, 2):,} bytes, found {header_bytes:,}"
            )
        text = file.read(header_bytes)
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise InvalidSource(f"{path}: the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise InvalidSource(f"{path}: the header must be a JSON object, found {type(header).__name__}")
    return header, _LENGTH_BYTES + header_bytes


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _tensor(path: Path, name: str, entry: object, data_start: int) -> Tensor:
    """Return one tensor of the header, its fields checked against each other."""
    where = f"{path}: tensor {name!r:.200}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InvalidSource(f"{where}: expected dtype, shape and data_offsets, found {entry!r:.200}")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise InvalidSource(f"{where}: expected a dtype of {', '.join(_DTYPES)}, found {dtype!r:.100}")
    if not _are_sizes(shape):
        raise InvalidSource(f"{where}: expected a shape of numbers from 0, found {shape!r:.100}")
    if not _are_sizes(span) or len(span) != 2 or span[0] > span[1]:
        raise InvalidSource(f"{where}: expected data_offsets [begin, end], found {span!r:.100}")
    expected, found = math.prod(shape) * _DTYPES[dtype][0], span[1] - span[0]
    if expected != found:
        raise InvalidSource(f"{where}: {dtype}{shape} needs {expected:,} bytes, its data_offsets span {found:,}")
    return Tensor(name=name, dtype=dtype, shape=tuple(shape), offset=data_start + span[0], num_bytes=found)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


# Bytes of an element and its row format.
_DTYPES = {
    "F64": (8, ROW_FORMATS["float64"]),
    "F32": (4, ROW_FORMATS["float32"]),
    "F16": (2, ROW_FORMATS["float16"]),
    "BF16": (2, ROW_FORMATS["bfloat16"]),
    "F8_E4M3": (1, ROW_FORMATS["float8_e4m3fn"]),
    "F8_E5M2": (1, ROW_FORMATS["float8_e5m2"]),
    "F8_E8M0": (1, ""),
    "I64": (8, ""),
    "U64": (8, ""),
    "I32": (4, ""),
    "U32": (4, ""),
    "I16": (2, ""),
    "U16": (2, ""),
    "I8": (1, ROW_FORMATS["int8"]),
    "U8": (1, ROW_FORMATS["uint8"]),
    "BOOL": (1, ""),
}

"""What a .safetensors file says of itself, read with suspicion.

The file is 8 bytes (little-endian length of the header), the header (JSON: tensor name to dtype, shape and the begin
and end of its bytes), then the bytes of all tensors, without gaps.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from store_server.storage.errors import InvalidSource

if TYPE_CHECKING:
    from pathlib import Path

MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
LENGTH_BYTES = 8
_METADATA = "__metadata__"
_MAX_DIMENSIONS = 8  # so that the product of a made-up shape takes no time
# Bits of an element.
DTYPE_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
    "C64": 64,
    "I64": 64,
    "U64": 64,
    "I32": 32,
    "U32": 32,
    "I16": 16,
    "U16": 16,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a file; `offset` counts from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsFile:
    """A file whose header was checked. `tensors` is in the order of their bytes."""

    path: Path
    num_bytes: int
    mtime_ns: int
    header_digest: str
    tensors: dict[str, Tensor]


def read_safetensors_file(path: Path) -> SafetensorsFile:
    """Read the header of a file.

    Every claim of the header is checked against the file's size; raises InvalidSource that names file, tensor, expected
    and found, and OSError.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        text = read_header(path, file.fileno(), status.st_size)
    data_start = LENGTH_BYTES + len(text)
    entries = {name: entry for name, entry in _parse(path, text).items() if name != _METADATA}
    tensors = [_tensor(path, name, entry, data_start) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.num_bytes))
    _check_places(path, tensors, data_start, status.st_size)
    return SafetensorsFile(
        path=path,
        num_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        header_digest=digest_of_header(text),
        tensors={tensor.name: tensor for tensor in tensors},
    )


def read_header(path: Path, descriptor: int, file_bytes: int) -> bytes:
    """Return the JSON text of the header of an open file, unparsed; raises InvalidSource and OSError."""
    if file_bytes < LENGTH_BYTES:
        raise InvalidSource(
            f"{path}: truncated: expected {LENGTH_BYTES} bytes with the length of the header, found {file_bytes}"
        )
    header_bytes = int.from_bytes(os.pread(descriptor, LENGTH_BYTES, 0), "little")
    limit = min(MAX_HEADER_BYTES, file_bytes - LENGTH_BYTES)
    if not 2 <= header_bytes <= limit:
        raise InvalidSource(
            f"{path}: not a .safetensors file: "
            f"expected a header of 2 to {max(limit, 2):,} bytes, found {header_bytes:,}"
        )
    text = os.pread(descriptor, header_bytes, LENGTH_BYTES)
    if len(text) != header_bytes:
        raise InvalidSource(f"{path}: truncated: expected a header of {header_bytes:,} bytes, found {len(text):,}")
    return text


def digest_of_header(text: bytes) -> str:
    """Return the lower-case hex SHA-256 of a header's JSON text, as it lies in the file."""
    return hashlib.sha256(text).hexdigest()


def _check_places(path: Path, tensors: list[Tensor], data_start: int, file_bytes: int) -> None:
    end = data_start
    for number, tensor in enumerate(tensors):
        if tensor.offset != end:
            raise InvalidSource(f"{path}: {_misplaced(tensors, number, end)}")
        end += tensor.num_bytes
    if end != file_bytes:
        fault = "truncated" if end > file_bytes else "longer than its tensors"
        raise InvalidSource(f"{path}: {fault}: the header describes {end:,} bytes, the file has {file_bytes:,}")


def _misplaced(tensors: list[Tensor], number: int, end: int) -> str:
    """Say what is wrong with the place of a tensor that does not begin at `end`, where the one before it ends."""
    tensor = tensors[number]
    if number and tensor.offset == tensors[number - 1].offset:
        return f"tensors {tensors[number - 1].name!r} and {tensor.name!r} overlap: both are at byte {tensor.offset}"
    if tensor.offset < end:
        return f"tensor {tensor.name!r} overlaps the one before it: expected it at byte {end}, found {tensor.offset}"
    # The gap may be the place of a tensor that is said to lie further on, where it follows none.
    later = pairwise(tensors[number:])
    strays = [stray for before, stray in later if stray.offset != before.offset + before.num_bytes]
    fits = [stray for stray in strays if stray.num_bytes == tensor.offset - end]
    odd = fits[0] if len(fits) == 1 else tensor
    return f"tensor {odd.name!r} leaves a gap before it: expected it at byte {end}, found {odd.offset}"


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise InvalidSource(f"{path}: the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise InvalidSource(f"{path}: the header must be a JSON object, found {type(header).__name__}")
    return header


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
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise InvalidSource(f"{where}: expected a dtype of {', '.join(DTYPE_BITS)}, found {dtype!r:.100}")
    if not _are_sizes(shape) or len(shape) > _MAX_DIMENSIONS:
        raise InvalidSource(
            f"{where}: expected a shape of at most {_MAX_DIMENSIONS} numbers from 0, found {shape!r:.100}"
        )
    if not _are_sizes(span) or len(span) != 2 or span[0] > span[1]:
        raise InvalidSource(f"{where}: expected data_offsets [begin, end], found {span!r:.100}")
    expected_bits, found = math.prod(shape) * DTYPE_BITS[dtype], span[1] - span[0]
    if expected_bits != found * 8:
        needed = f"{-(-expected_bits // 8):,}" if expected_bits < 1 << 63 else "2^60 or more"
        raise InvalidSource(f"{where}: {dtype}{shape} needs {needed} bytes, its data_offsets span {found:,}")
    return Tensor(name=name, dtype=dtype, shape=tuple(shape), offset=data_start + span[0], num_bytes=found)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)

"""Rows of a 2-D array that `numpy.save` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy_format

from store_server.storage.errors import InvalidSource
from store_server.storage.sources.rows_in_file import ROW_FORMATS, RowsInFile

if TYPE_CHECKING:
    from pathlib import Path

_READ_HEADER = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


def npy_rows(path: Path) -> RowsInFile:
    """Return the rows of a .npy file: 2-D, C order, little-endian numbers.

    A type that .npy has no name for (bfloat16 is written as 2-byte blobs) leaves `row_format` empty. Raises
    InvalidSource with what was expected and found.
    """
    shape, fortran_order, dtype, offset = _read_header(path)
    if len(shape) != 2 or bool in map(type, shape) or min(shape) < 1:
        raise InvalidSource(f"{path}: expected a 2-D array (rows, width) that is not empty, found shape {shape}")
    if fortran_order:
        raise InvalidSource(f"{path}: expected C order, found Fortran order; save numpy.ascontiguousarray(array)")
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None or dtype.kind not in "fiuV":
        raise InvalidSource(f"{path}: expected numbers, found dtype {dtype}")
    if dtype.byteorder == ">":
        raise InvalidSource(f"{path}: expected little-endian numbers, found dtype {dtype.str}; save them as '<'")
    num_rows, row_bytes = shape[0], shape[1] * dtype.itemsize
    expected, found = offset + num_rows * row_bytes, path.stat().st_size
    if found != expected:
        raise InvalidSource(f"{path}: shape {shape} of {dtype.name} needs {expected:,} bytes, the file has {found:,}")
    row_format = ROW_FORMATS.get(dtype.name, "")
    return RowsInFile(path=path, offset=offset, num_rows=num_rows, row_bytes=row_bytes, row_format=row_format)


def _read_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    with path.open("rb") as file:
        try:
            version = npy_format.read_magic(file)
            if version in _READ_HEADER:
                return *_READ_HEADER[version](file), file.tell()
        except OSError:
            raise
        except Exception as error:  # NumPy hands on what Python's tokenizer and parser raise
            raise InvalidSource(f"{path}: not a .npy file: {error}") from error
    raise InvalidSource(f"{path}: expected .npy format 1.0 or 2.0, found {version[0]}.{version[1]}")

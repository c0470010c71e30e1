"""Rows that lie one behind the other in a part of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsInFile:
    """`num_rows` rows of `row_bytes` bytes from `offset` on; `row_format` is "" where the file does not say."""

    path: Path
    offset: int
    num_rows: int
    row_bytes: int
    row_format: str = ""

    def pieces(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all rows in order, about 1 MiB (n, row_bytes) uint8 at a time; each piece reuses the same memory.

        Raises InvalidSource when the file ends early, or cannot be read.
        """
        buffer = np.empty((min(self.num_rows, max(1, _PIECE_BYTES // self.row_bytes)), self.row_bytes), np.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            for first in range(0, self.num_rows, len(buffer)):
                piece = buffer[: self.num_rows - first]
                target, done = piece.data.cast("B"), 0
                while done < len(target):
                    count = self._read(file, target[done:])
                    if not count:
                        raise InvalidSource(f"{self.path}: ends inside row {first + done // self.row_bytes}")
                    done += count
                yield piece

    def _read(self, file: FileIO, target: memoryview) -> int:
        try:
            return file.readinto(target)
        except OSError as error:  # which does not say of what file
            raise InvalidSource(f"{self.path}: {error.strerror or error}") from error


# Row formats of the element types that files name; bytes without a meaning have none.
ROW_FORMATS = {
    "uint8": "",
    "int8": "int8",
    "float64": "float64",
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "float8_e4m3",
    "float8_e5m2": "float8_e5m2",
}

"""A fetch cut into pieces, each of which travels as one lookup."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.table_info import TableInfo

# Large fetches are cut into replies of about this size, which overlap on the wire. Half of it costs both sides a tenth
# more of processor time, twice of it lets less overlap and keeps others waiting longer.
PIECE_BYTES: Final = 2 << 20


@dataclass(slots=True, eq=False)
class Piece:
    """A part of a fetch: `rows` (n,) go to `out` (n, row_bytes), or to the rows `places` (n,) of a larger `out`."""

    rows: Int64Array
    out: Uint8Array
    places: Int64Array | None = None
    arrived: bool = False

    @property
    def reply_bytes(self) -> int:
        """Bytes of the rows asked for."""
        row_bytes: int = self.out.shape[1]
        return len(self.rows) * row_bytes

    @property
    def num_bytes(self) -> int:
        """Bytes that this piece puts on the wire, there and back."""
        return self.rows.nbytes + self.reply_bytes

    def fill(self, rows: Uint8Array) -> None:
        """Take the rows, (n * row_bytes,), to where they belong."""
        if self.places is None:
            np.copyto(self.out.reshape(-1), rows)
        else:
            whole_row = f"V{self.out.shape[1]}"  # as one item a row is copied at twice the speed of its bytes
            self.out.view(whole_row)[self.places, 0] = rows.view(whole_row)
        self.arrived = True


def cut(table: TableInfo, rows: Int64Array, out: Uint8Array, places: Int64Array | None = None) -> list[Piece]:
    """Cut a fetch into pieces of one size, so that none of a few rows is left: it would cost as much as a large one."""
    number = max(1, round(len(rows) * table.row_bytes / PIECE_BYTES))
    size = max(1, min(table.max_rows_per_lookup, math.ceil(len(rows) / number)))
    if size >= len(rows):
        return [Piece(rows, out, places)] if len(rows) else []
    slices = [slice(start, start + size) for start in range(0, len(rows), size)]
    if places is None:
        return [Piece(rows[part], out[part]) for part in slices]
    return [Piece(rows[part], out, places[part]) for part in slices]


def missing(pieces: Iterable[Piece]) -> list[Piece]:
    """Return those that have not arrived."""
    return [piece for piece in pieces if not piece.arrived]

"""What a placed cluster is made of: how large its tables are, and where and how large its nodes."""

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from simulation.agreed_map import BLOCK_ROWS
from simulation.member import Traits

_MOST_BLOCKS = 300


@dataclass(frozen=True, slots=True)
class TableSize:
    """Of a table: all its versions are as large."""

    num_rows: int
    row_bytes: int

    @classmethod
    def drawn(cls, dice: random.Random, num_nodes: int, row_bytes: int) -> "TableSize":
        num_blocks = dice.randint(1, min(_MOST_BLOCKS, 2 * num_nodes))
        return cls(num_blocks * BLOCK_ROWS, row_bytes)

    @property
    def num_bytes(self) -> int:
        return self.num_rows * self.row_bytes

    def manifest(self, version: str) -> Any:
        """Return what a publisher knows of a version."""
        return SimpleNamespace(
            version=version,
            num_rows=self.num_rows,
            row_bytes=self.row_bytes,
            block_rows=BLOCK_ROWS,
            row_format="",
            fingerprint="",
            block_digests=("of", "each", "block"),
            is_attached=False,
            to_json=lambda: "",  # its size is all that is asked
        )


def traits_at_random(dice: random.Random, num_nodes: int, num_bytes: int) -> list[Traits]:
    """Return nodes in zones or not, of one capacity or not; three versions of everything have room."""
    zones = dice.choice(((), (), "ab", "abc", "abcd"))
    usual = dice.choice((0, 6 * num_bytes // num_nodes + 1))
    return [
        Traits(
            labels={"zone": zones[number % len(zones)]} if zones else {},
            capacity_bytes=int(usual * dice.uniform(0.7, 1.5)),
            free_bytes=6 * num_bytes,
        )
        for number in range(num_nodes)
    ]

"""Which rows the fetches ask for: every row alike, a few far more often than others, or those of a real text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from store_server.commands.load.zipf import Zipf, scatter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.hashing import HashSpec


@dataclass(frozen=True, slots=True)
class UniformChoice:
    """Every row alike."""


@dataclass(frozen=True, slots=True)
class ZipfChoice:
    """The r-th most wanted row in proportion to r ** -exponent; such rows lie anywhere in the table."""

    exponent: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextChoice:
    """The rows that texts look up, token after token, from the beginning again at its end."""

    names: tuple[str, ...]
    documents: tuple[NDArray[np.int64], ...]
    """Token ids (tokens,) of each text; an n-gram never reaches from one into the next."""
    token_map: NDArray[np.int64]
    spec: HashSpec
    layer: int
    fold: bool
    """Whether rows are taken modulo the table's number of rows, which is then not the hash's."""


RowChoice: TypeAlias = UniformChoice | ZipfChoice | TextChoice


class RowSource(Protocol):
    """Rows to ask for, without end."""

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the next rows, (count,) int64."""
        ...


def row_source(choice: RowChoice, num_rows: int, *, seed: int, share: int, shares: int) -> RowSource:
    """Return the rows for one of `shares` processes; a text is begun by each at a place of its own."""
    generator = np.random.default_rng([seed, share])
    if isinstance(choice, UniformChoice):
        return _UniformRows(num_rows, generator)
    if isinstance(choice, ZipfChoice):
        return _ZipfRows(num_rows, choice.exponent, generator)
    rows = text_rows(choice, num_rows)
    return _RepeatedRows(rows, start=len(rows) * share // shares)


def text_rows(choice: TextChoice, num_rows: int) -> NDArray[np.int64]:
    """Return all rows that the texts look up in a table, (tokens * columns,)."""
    from engram_client.hashing import NgramHasher

    hasher = NgramHasher(choice.spec, choice.token_map)
    rows = np.concatenate([hasher.rows(tokens[None], choice.layer).reshape(-1) for tokens in choice.documents])
    return rows % num_rows if choice.fold else rows


class _UniformRows:
    def __init__(self, num_rows: int, generator: np.random.Generator) -> None:
        self._num_rows = num_rows
        self._generator = generator

    def take(self, count: int) -> NDArray[np.int64]:
        return self._generator.integers(0, self._num_rows, count, dtype=np.int64)


class _ZipfRows:
    def __init__(self, num_rows: int, exponent: float, generator: np.random.Generator) -> None:
        self._num_rows = num_rows
        self._zipf = Zipf(num_rows, exponent, generator)

    def take(self, count: int) -> NDArray[np.int64]:
        return scatter(self._zipf.ranks(count), self._num_rows)


class _RepeatedRows:
    def __init__(self, rows: NDArray[np.int64], start: int) -> None:
        self._rows = rows
        self._next = start

    def take(self, count: int) -> NDArray[np.int64]:
        places = np.arange(self._next, self._next + count) % len(self._rows)
        self._next = (self._next + count) % len(self._rows)
        return self._rows[places]

"""The manifest of a version: what its content is, how it is held, and the name that follows from the content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from store_server.storage.digests import DIGEST_ALGORITHM
from store_server.storage.errors import InvalidTableSpec

FORMAT = 1
MAX_ROW_BYTES = 1 << 20
BACKENDS = ("mmap", "lmdb")
_BLOCK_BYTES = 1 << 20
_VERSION_CHARACTERS = 32
_MAX_TEXT_CHARACTERS = 1000
_PAGE_BYTES, _PAGE_HEADER_BYTES = 4096, 16  # of LMDB
# How a version is held, not what it is: the same content has the same name in every backend.
_NOT_CONTENT = ("backend", "data_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """What a table is to be, before its rows are known.

    Raises InvalidTableSpec unless num_rows is at least 1 and row_bytes is 1 to 1 MiB.
    """

    num_rows: int
    row_bytes: int
    row_format: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.row_bytes <= MAX_ROW_BYTES:
            raise InvalidTableSpec(f"row_bytes must be 1 to {MAX_ROW_BYTES:,} (1 MiB), got {self.row_bytes:,}")
        if self.num_rows < 1:
            raise InvalidTableSpec(f"num_rows must be at least 1, got {self.num_rows:,}")
        if self.num_rows * self.row_bytes >= 1 << 63:
            raise InvalidTableSpec(f"{self.num_rows:,} rows of {self.row_bytes:,} bytes are more than a file can hold")
        for name, text in (("row_format", self.row_format), ("fingerprint", self.fingerprint)):
            if len(text) > _MAX_TEXT_CHARACTERS or not (text == "" or text.isprintable()):
                raise InvalidTableSpec(
                    f"{name} must be printable and at most {_MAX_TEXT_CHARACTERS} characters, got {text!r:.100}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One immutable version of a table.

    `version` is derived: the digest of all fields that describe content. A manifest that was changed by hand therefore
    no longer fits the directory it lies in. `data_bytes` is the exact size of the data file.
    """

    num_rows: int
    row_bytes: int
    row_format: str
    fingerprint: str
    backend: str
    data_bytes: int
    block_rows: int
    block_digests: tuple[str, ...]
    digest: str = DIGEST_ALGORITHM
    format: int = FORMAT
    version: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InvalidTableSpec(f"manifest format {self.format!r} is unknown, this program reads format {FORMAT}")
        TableSpec(
            num_rows=self.num_rows, row_bytes=self.row_bytes, row_format=self.row_format, fingerprint=self.fingerprint
        )
        if self.backend not in BACKENDS:
            raise InvalidTableSpec(f"backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.backend == "mmap" and self.data_bytes != self.num_rows * self.row_bytes:
            expected = self.num_rows * self.row_bytes
            raise InvalidTableSpec(f"data_bytes of a flat file must be {expected}, got {self.data_bytes}")
        if self.digest != DIGEST_ALGORITHM:
            raise InvalidTableSpec(f"digest must be {DIGEST_ALGORITHM!r}, got {self.digest!r}")
        if self.block_rows < 1:
            raise InvalidTableSpec(f"block_rows must be at least 1, got {self.block_rows}")
        if len(self.block_digests) != self.num_blocks:
            raise InvalidTableSpec(f"{self.num_blocks} blocks need as many digests, got {len(self.block_digests)}")
        object.__setattr__(self, "version", _digest_of(self._content()))

    @property
    def num_blocks(self) -> int:
        """How many blocks the rows fill."""
        return -(-self.num_rows // self.block_rows)

    @property
    def num_bytes(self) -> int:
        """Size of all rows in bytes, without what a backend adds."""
        return self.num_rows * self.row_bytes

    def rows_in_block(self, block: int) -> int:
        """Return how many rows a block holds; all but the last hold `block_rows`."""
        return min(self.block_rows, self.num_rows - block * self.block_rows)

    def to_json(self) -> bytes:
        """Return the canonical JSON of all fields but the derived one, with a newline."""
        return _canonical({name: getattr(self, name) for name in _FIELDS}) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read what `to_json` wrote; raises InvalidTableSpec when it is anything else."""
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidTableSpec(f"not JSON: {error}") from error
        if not isinstance(fields, dict) or set(fields) != set(_FIELDS):
            found = ", ".join(sorted(fields)) if isinstance(fields, dict) else type(fields).__name__
            raise InvalidTableSpec(f"must be an object with the keys {', '.join(sorted(_FIELDS))}, got {found:.300}")
        _check_types(fields)
        return cls(**{**fields, "block_digests": tuple(fields["block_digests"])})

    def _content(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS if name not in _NOT_CONTENT}


def default_block_rows(row_bytes: int) -> int:
    """Return how many rows make a block: about 1 MiB of them, at least one.

    Where it costs nothing, a block and the header that LMDB puts before it fill a number of pages that is also a number
    of whole rows. All rows of an LMDB file then lie at multiples of `row_bytes` from each other, which is what makes
    gathering them as quick as from one flat file (see lmdb_backend).
    """
    period = math.lcm(row_bytes, _PAGE_BYTES)
    if row_bytes > _BLOCK_BYTES // 32 or period > 2 * _BLOCK_BYTES:
        return max(1, _BLOCK_BYTES // row_bytes)
    return (max(1, round(_BLOCK_BYTES / period)) * period - _PAGE_HEADER_BYTES) // row_bytes


def _check_types(fields: dict[str, Any]) -> None:
    for name, expected in _FIELDS.items():
        found = type(fields[name])
        if found is not expected:
            raise InvalidTableSpec(f"{name} must be of type {expected.__name__}, got {found.__name__}")
    if not all(type(digest) is str for digest in fields["block_digests"]):
        raise InvalidTableSpec("block_digests must be strings")


def _digest_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()[:_VERSION_CHARACTERS]


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


_JSON_TYPES: dict[str, type] = {"int": int, "str": str, "tuple[str, ...]": list}
_FIELDS: dict[str, type] = {
    item.name: _JSON_TYPES[str(item.type)] for item in dataclasses.fields(Manifest) if item.init
}

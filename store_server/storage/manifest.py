"""The manifest of a version: what its content is, how it is held, and the name that follows from the content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from store_server.storage.changed_blocks import ChangedBlocks
from store_server.storage.digests import DIGEST_ALGORITHM
from store_server.storage.errors import InvalidTableSpec
from store_server.storage.segment import Segment

FORMAT = 1
MAX_ROW_BYTES = 1 << 20
BACKENDS = ("mmap", "lmdb")
ATTACHED = "safetensors"
_BLOCK_BYTES = 1 << 20
_VERSION_CHARACTERS = 32
_MAX_TEXT_CHARACTERS = 1000
_NUMBERS = 1 << 63
_PAGE_BYTES, _PAGE_HEADER_BYTES = 4096, 16  # of LMDB
# How a version is held, not what it is: the same content has the same name in every backend.
_NOT_CONTENT = ("backend", "data_bytes")
# An attached checkpoint was not read when it was named: its digests come later and are no part of the name.
_NOT_CONTENT_WHEN_ATTACHED = ("backend", "data_bytes", "block_rows", "block_digests", "digest")


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
    no longer fits the directory it lies in. `data_bytes` is the exact size of the data file; blocks that are `changed`
    lie in a file of their own.

    An attached version has no data file but `segments`, in the order of their columns, and the digest of the
    checkpoint's index. It is named by the segments' headers, places, file sizes and samples of their rows, and by the
    index, because nobody has read all its rows; `block_digests` is empty until `verify` first has.
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
    segments: tuple[Segment, ...] = ()
    index_digest: str = ""
    changed: ChangedBlocks | None = None
    version: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InvalidTableSpec(f"manifest format {self.format!r} is unknown, this program reads format {FORMAT}")
        TableSpec(
            num_rows=self.num_rows, row_bytes=self.row_bytes, row_format=self.row_format, fingerprint=self.fingerprint
        )
        self._check_backend()
        if self.digest != DIGEST_ALGORITHM:
            raise InvalidTableSpec(f"digest must be {DIGEST_ALGORITHM!r}, got {self.digest!r}")
        if self.block_rows < 1:
            raise InvalidTableSpec(f"block_rows must be at least 1, got {self.block_rows}")
        unread = self.is_attached and not self.block_digests
        if not unread and len(self.block_digests) != self.num_blocks:
            raise InvalidTableSpec(f"{self.num_blocks} blocks need as many digests, got {len(self.block_digests)}")
        if self.changed is not None:
            self.changed.check(self)
        object.__setattr__(self, "version", _digest_of(self._content()))

    @property
    def is_attached(self) -> bool:
        """Whether the rows lie in files that are not ours."""
        return self.backend == ATTACHED

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
        fields = {name: getattr(self, name) for name in _FIELDS}
        if self.is_attached:
            fields["segments"] = [dataclasses.asdict(segment) for segment in self.segments]
            fields["index_digest"] = self.index_digest
        if self.changed is not None:
            fields["changed"] = self.changed.fields()
        return _canonical(fields) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read what `to_json` wrote; raises InvalidTableSpec when it is anything else."""
        try:
            fields = json.loads(data, parse_int=_whole_number)
        except (ValueError, RecursionError) as error:
            raise InvalidTableSpec(f"not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InvalidTableSpec(f"must be an object, got {type(fields).__name__}")
        changed = fields.pop("changed", None)
        expected = {**_FIELDS, **_FIELDS_WHEN_ATTACHED} if fields.get("backend") == ATTACHED else _FIELDS
        if set(fields) != set(expected):
            found = ", ".join(sorted(fields))
            raise InvalidTableSpec(f"must be an object with the keys {', '.join(sorted(expected))}, got {found:.300}")
        _check_types(fields, expected)
        segments = tuple(Segment.from_fields(segment) for segment in fields.get("segments", ()))
        return cls(
            **{**fields, "block_digests": tuple(fields["block_digests"]), "segments": segments},
            changed=None if changed is None else ChangedBlocks.from_fields(changed),
        )

    def _check_backend(self) -> None:
        if self.is_attached:
            self._check_segments()
        elif self.backend not in BACKENDS:
            raise InvalidTableSpec(f"backend must be one of {', '.join((*BACKENDS, ATTACHED))}, got {self.backend!r}")
        elif self.segments:
            raise InvalidTableSpec(f"segments must be those of an attached version, got backend {self.backend!r}")
        elif self.backend == "mmap" and self.data_bytes != self.num_rows * self.row_bytes:
            expected = self.num_rows * self.row_bytes
            raise InvalidTableSpec(f"data_bytes of a flat file must be {expected}, got {self.data_bytes}")

    def _check_segments(self) -> None:
        if not self.segments:
            raise InvalidTableSpec("an attached version must have at least one segment, got none")
        if self.changed is not None:
            raise InvalidTableSpec("an attached version has no changed blocks beside its segments")
        for segment in self.segments:
            segment.check(self.num_rows)
        found = sum(segment.row_bytes for segment in self.segments)
        if found != self.row_bytes:
            raise InvalidTableSpec(f"the segments must be {self.row_bytes} bytes wide together, got {found}")

    def _content(self) -> dict[str, Any]:
        if not self.is_attached:
            return {name: getattr(self, name) for name in _FIELDS if name not in _NOT_CONTENT}
        content = {name: getattr(self, name) for name in _FIELDS if name not in _NOT_CONTENT_WHEN_ATTACHED}
        return {
            **content,
            "segments": [segment.content() for segment in self.segments],
            "index_digest": self.index_digest,
        }


def default_block_rows(row_bytes: int) -> int:
    """Return how many rows make a block: about 1 MiB of them, at least one.

    Where it costs nothing, a block and the header that LMDB puts before it fill a number of pages that is also a number
    of whole rows. All rows of an LMDB file then lie at multiples of `row_bytes` from each other, which is what makes
    gathering them as quick as from one flat file (see lmdb_file).
    """
    period = math.lcm(row_bytes, _PAGE_BYTES)
    if row_bytes > _BLOCK_BYTES // 32 or period > 2 * _BLOCK_BYTES:
        return max(1, _BLOCK_BYTES // row_bytes)
    return (max(1, round(_BLOCK_BYTES / period)) * period - _PAGE_HEADER_BYTES) // row_bytes


def _whole_number(digits: str) -> int:
    """Return a number of a manifest. A larger one than any file has bytes would only have to be refused later on."""
    number = int(digits)
    if not -_NUMBERS <= number < _NUMBERS:
        raise ValueError(f"a number must be below 2^63, got {digits:.40}")
    return number


def _check_types(fields: dict[str, Any], expected_types: dict[str, type]) -> None:
    for name, expected in expected_types.items():
        found = type(fields[name])
        if found is not expected:
            raise InvalidTableSpec(f"{name} must be of type {expected.__name__}, got {found.__name__}")
    if not all(type(digest) is str for digest in fields["block_digests"]):
        raise InvalidTableSpec("block_digests must be strings")


def _digest_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()[:_VERSION_CHARACTERS]


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


_FIELDS_WHEN_ATTACHED: dict[str, type] = {"segments": list, "index_digest": str}
_JSON_TYPES: dict[str, type] = {"int": int, "str": str, "tuple[str, ...]": list}
_FIELDS: dict[str, type] = {
    item.name: _JSON_TYPES[str(item.type)]
    for item in dataclasses.fields(Manifest)
    if item.init and item.name not in (*_FIELDS_WHEN_ATTACHED, "changed")
}

"""A segment: the columns of every row that lie in one tensor of a checkpoint, which is served as it lies."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store_server.storage.errors import InvalidTableSpec
from store_server.storage.files.regular_file import can_name_a_file

# Where the file is and when it was written, not what it holds: a copy of a checkpoint has the same versions.
_NOT_CONTENT = ("path", "mtime_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """`row_bytes` columns of all rows, one row behind the other from `offset` on; and what the file must be.

    `sample_digest` is that of a few of the rows (see sample).
    """

    path: str
    tensor: str
    offset: int
    row_bytes: int
    file_bytes: int
    mtime_ns: int
    header_digest: str
    sample_digest: str

    def check(self, num_rows: int) -> None:
        """Raise InvalidTableSpec unless `num_rows` rows fit into the file."""
        if not (can_name_a_file(self.path) and Path(self.path).is_absolute()):
            raise InvalidTableSpec(f"segment {self.tensor!r:.300}: path must be absolute, got {self.path!r:.300}")
        if self.row_bytes < 1 or self.offset < 0:
            raise InvalidTableSpec(
                f"segment {self.tensor!r}: row_bytes must be at least 1 and offset not negative, "
                f"got {self.row_bytes} and {self.offset}"
            )
        end = self.offset + num_rows * self.row_bytes
        if end > self.file_bytes:
            raise InvalidTableSpec(
                f"segment {self.tensor!r}: {num_rows:,} rows end at byte {end:,}, the file has {self.file_bytes:,}"
            )

    def content(self) -> dict[str, Any]:
        """Return the fields that name a version."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_CONTENT}

    @classmethod
    def from_fields(cls, fields: object) -> Segment:
        """Return the segment with these fields, as read from JSON; raises InvalidTableSpec."""
        if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != _FIELDS:
            expected = ", ".join(f"{name} ({kind.__name__})" for name, kind in _FIELDS.items())
            raise InvalidTableSpec(f"a segment must have the keys {expected}, got {fields!r:.300}")
        return cls(**fields)


_TYPES: dict[str, type] = {"int": int, "str": str}
_FIELDS: dict[str, type] = {item.name: _TYPES[str(item.type)] for item in dataclasses.fields(Segment)}

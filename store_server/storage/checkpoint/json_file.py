"""JSON files of a checkpoint, read with suspicion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from store_server.storage.errors import InvalidCheckpoint, StorageFailure
from store_server.storage.files.regular_file import fault_of_path

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES: Final = 256 << 20  # an index takes about 100 bytes a tensor


@dataclass(frozen=True, slots=True)
class JsonObject:
    """The JSON object that a file holds, and the lower-case hex SHA-256 of the file."""

    path: Path
    fields: dict[str, Any]
    digest: str


def read_json_object(path: Path) -> JsonObject:
    """Return the object in a file; raises InvalidCheckpoint and StorageFailure."""
    try:
        if fault := fault_of_path(path):
            raise InvalidCheckpoint(path, "file", "it to be there, as in every checkpoint", fault)
        num_bytes = path.stat().st_size
        if num_bytes > _MAX_BYTES:
            raise InvalidCheckpoint(path, "size", f"at most {_MAX_BYTES:,} bytes", f"{num_bytes:,}")
        data = path.read_bytes()
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error
    try:
        fields = json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise InvalidCheckpoint(path, "file", "JSON", str(error)) from error
    if not isinstance(fields, dict):
        raise InvalidCheckpoint(path, "file", "a JSON object", type(fields).__name__)
    return JsonObject(path, fields, sha256(data).hexdigest())


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"the key {name!r:.200} twice")
        fields[name] = value
    return fields

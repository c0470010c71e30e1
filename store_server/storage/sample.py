"""A few rows of a tensor that is served in place, hashed: they tell a checkpoint from a retrained one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from store_server.storage.errors import StorageFailure, TableDamaged

if TYPE_CHECKING:
    from store_server.storage.segment import Segment
    from store_server.storage.stored_version import StoredVersion

_PIECES: Final = 32
_PIECE_BYTES: Final = 1024


def sample_digest(path: Path, offset: int, num_bytes: int) -> str:
    """Return the lower-case hex SHA-256 of 32 pieces of 1 KiB of a tensor, its two ends and evenly spread between them.

    That is 32 KiB at most, whatever the size: instant, and enough to see that other rows were trained. It does not see
    a change elsewhere; the digests of `verify` do. Raises StorageFailure.
    """
    piece_bytes = min(_PIECE_BYTES, num_bytes)
    last = num_bytes - piece_bytes
    hashed = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            for place in sorted({last * piece // (_PIECES - 1) for piece in range(_PIECES)}):
                file.seek(offset + place)
                hashed.update(file.read(piece_bytes))
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error
    return hashed.hexdigest()


def check_sample(stored: StoredVersion, segment: Segment) -> None:
    """Raise TableDamaged unless a segment has the sample that it was attached with; raises StorageFailure."""
    path = Path(segment.path)
    found = sample_digest(path, segment.offset, stored.manifest.num_rows * segment.row_bytes)
    if found != segment.sample_digest:
        detail = f"tensor {segment.tensor!r} holds other rows than when it was attached"
        raise TableDamaged(stored.table, stored.version, path, detail, expected=segment.sample_digest, found=found)

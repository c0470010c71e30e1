"""Where each block of a version lies: in its data file, or in the file of the blocks that a patch replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.files.data_file import DATA_FILE_KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.stored_version import StoredVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlaces:
    """A block begins at byte `offsets[block]` of `paths[file_of[block]]`.

    `file_of` and `offsets` are int64 (num_blocks,), `file_bytes` is the size of each file.
    """

    paths: tuple[Path, ...]
    file_bytes: tuple[int, ...]
    file_of: NDArray[np.int64]
    offsets: NDArray[np.int64]


def block_places(stored: StoredVersion) -> BlockPlaces:
    """Return where the blocks of a version lie that has a data file; raises TableDamaged, PackageMissing."""
    manifest = stored.manifest
    offsets = DATA_FILE_KINDS[manifest.backend].offsets(stored)
    paths, file_bytes = (stored.data_path,), (manifest.data_bytes,)
    file_of = np.zeros(manifest.num_blocks, np.int64)
    if manifest.changed is None:
        return BlockPlaces(paths=paths, file_bytes=file_bytes, file_of=file_of, offsets=offsets)
    are_changed = manifest.changed.are_changed(manifest.num_blocks)
    file_of[are_changed], offsets[are_changed] = 1, manifest.changed.offsets(manifest)
    return BlockPlaces(
        paths=(*paths, stored.changed_path),
        file_bytes=(*file_bytes, manifest.changed.file_bytes),
        file_of=file_of,
        offsets=offsets,
    )

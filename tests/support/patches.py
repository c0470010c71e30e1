"""Versions in which some rows of another one are replaced."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store_server.storage import DataRoot, root_writer
from store_server.storage.patch_writer import PatchOutcome, write_patch
from store_server.storage.row_patch import row_patch


def patch_table(
    root: Path, name: str, ids: list[int], rows: NDArray[np.uint8], *, base: str | None = None, **options: object
) -> PatchOutcome:
    """Replace rows of a version, by default of the current one."""
    data_root = DataRoot.open(root)
    stored = data_root.stored_version(name, base or data_root.current_version(name))
    with root_writer(root) as writer:
        return write_patch(writer, stored, row_patch(np.array(ids), rows, stored.manifest), **options)


def with_rows(table: NDArray[np.uint8], ids: list[int], rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same with NumPy: a copy of a table in which rows are replaced."""
    changed = table.copy()
    changed[ids] = rows
    return changed


def held_rows(root: Path, version: str | None = None, **options: bool) -> NDArray[np.uint8]:
    """Return all rows of a version of table `t`, by default of the current one."""
    data_root = DataRoot.open(root)
    backend = data_root.open_backend("t", version or data_root.current_version("t"), **options)
    rows = np.concatenate([block.copy() for block in backend.blocks()])
    backend.close()
    return rows


def directory(root: Path) -> Path:
    """Return where the current version of table `t` lies."""
    data_root = DataRoot.open(root)
    return data_root.version_path("t", data_root.current_version("t"))

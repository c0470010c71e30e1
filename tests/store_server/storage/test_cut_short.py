"""A file that is cut short just while rows are copied from its map: behind its new end there are zeros, and no rows."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.rows import random_rows

from store_server.storage import DataRoot, ResidentSet, TableDamaged
from store_server.storage.files.version_files import VersionFiles, open_files
from store_server.storage.mapped_backend import MappedBackend
from store_server.storage.pages.file_map import MappedRows
from store_server.storage.row_layout import RowLayout

ROWS = random_rows(100, 264)  # in seven pages


class CuttingLayout:
    """Takes a row away from the file before it copies from what is left of its page."""

    def __init__(self, layout: RowLayout, file: Path) -> None:
        self.piece_bytes, self.places = layout.piece_bytes, layout.places
        self._layout, self._file = layout, file

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        os.truncate(self._file, ROWS.nbytes - ROWS.shape[1])
        self._layout.gather(rows, out)


class CuttingFiles:
    """The files of a version, mapped with such a layout."""

    def __init__(self, files: VersionFiles, file: Path) -> None:
        self.may_ask_for_residency = files.may_ask_for_residency
        self._files, self._file = files, file

    def map(self) -> MappedRows:
        mapped = self._files.map()
        return dataclasses.replace(mapped, layout=CuttingLayout(mapped.layout, self._file))


@pytest.mark.parametrize("way", ["gather", "gather_from_ram"])
def test_no_row_is_handed_out_that_was_copied_from_a_file_just_cut_short(
    root: Path, publish: Callable[..., str], way: str
) -> None:
    stored = DataRoot(root).stored_version("t", publish(root, "t", ROWS))
    with contextlib.closing(open_files(stored)) as files:
        backend = MappedBackend(stored, CuttingFiles(files, stored.data_path), ResidentSet())
    backend.refresh_residency()

    with pytest.raises(TableDamaged, match="cut short"):
        getattr(backend, way)(np.array([99]), np.empty((1, 264), np.uint8))
    backend.close()

"""One version as it lies on disk: which table it belongs to, its manifest and its data files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from store_server.storage.changed_blocks import CHANGED
from store_server.storage.errors import StorageFailure, TableDamaged

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.storage.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """Where a version is and what it must be.

    `directory` is that of its manifest; `data_path` of an attached version is the file of its first segment.
    """

    table: str
    version: str
    directory: Path
    data_path: Path
    manifest: Manifest

    @property
    def changed_path(self) -> Path:
        """Where the changed blocks of a version lie that has some."""
        return self.directory / CHANGED

    def check_data_files(self) -> None:
        """Raise TableDamaged unless the data files are there and have the sizes they were published with."""
        self._check_file(self.data_path, self.manifest.data_bytes)
        if self.manifest.changed is not None:
            self._check_file(self.changed_path, self.manifest.changed.file_bytes)

    def damaged(
        self,
        detail: str,
        *,
        path: Path | None = None,
        expected: int | str | None = None,
        found: int | str | None = None,
    ) -> TableDamaged:
        """Return the error that says what is wrong with a file, by default the data file."""
        return TableDamaged(self.table, self.version, path or self.data_path, detail, expected=expected, found=found)

    def _check_file(self, path: Path, expected: int) -> None:
        try:
            found = path.stat().st_size
        except FileNotFoundError as error:
            raise self.damaged("the data file is missing", path=path) from error
        except OSError as error:
            raise StorageFailure(path, error.strerror or str(error)) from error
        if found != expected:
            raise self.damaged("the data file has another size", path=path, expected=expected, found=found)

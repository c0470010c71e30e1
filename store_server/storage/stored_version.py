"""One version as it lies on disk: which table it belongs to, its manifest and its data file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    def check_data_file(self) -> None:
        """Raise TableDamaged unless the data file is there and has the size it was published with."""
        try:
            found = self.data_path.stat().st_size
        except FileNotFoundError as error:
            raise self.damaged("the data file is missing") from error
        except OSError as error:
            raise StorageFailure(self.data_path, error.strerror or str(error)) from error
        if found != self.manifest.data_bytes:
            raise self.damaged("the data file has another size", expected=self.manifest.data_bytes, found=found)

    def damaged(
        self, detail: str, *, expected: int | str | None = None, found: int | str | None = None
    ) -> TableDamaged:
        """Return the error that says what is wrong with the data file."""
        return TableDamaged(self.table, self.version, self.data_path, detail, expected=expected, found=found)

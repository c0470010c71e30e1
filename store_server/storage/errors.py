"""What can go wrong with stored tables: one base and a leaf for each case that a caller treats differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class StorageError(Exception):
    """Base of every error that storage raises on purpose."""


class InvalidTableName(StorageError):
    """No table can have this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name!r:.260} is not a table name: use letters, digits, '.', '_' and '-', each part beginning with a "
            f"letter or digit, parts joined by '/', at most 200 characters in all (got {len(name)})"
        )


class InvalidTableSpec(StorageError):
    """A table of this shape cannot be stored."""


class RootNotFound(StorageError):
    """There is no data root at this path."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"no data root at {path}: {reason}")


class RootBusy(StorageError):
    """Another process is writing to the data root."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path, self.pid = path, pid
        writer = "another process" if pid is None else f"process {pid}"
        super().__init__(f"data root {path} is in use by another writer ({writer}); try again when it has ended")


class RootOfAnotherNode(StorageError):
    """A living node of a cluster keeps what it holds in the data root."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path, self.holder = path, holder
        super().__init__(
            f"data root {path} belongs to a living node ({holder or 'one that is just starting'}): two would undo each "
            "other's work; give this node a root of its own, or stop the other"
        )


class RootOfAnotherCluster(StorageError):
    """A node of another cluster keeps what it holds in the data root: in this one nobody wants it, so it would go."""

    def __init__(self, path: Path, *, kept: str, named: str) -> None:
        self.path, self.kept, self.named = path, kept, named
        super().__init__(
            f"data root {path} is that of a node of cluster {kept!r}, --cluster names {named!r}: correct the name; if "
            f"the node is to move there for good, remove map.json and id in {path / 'cluster'}: it takes away what it "
            f"copied for {kept!r} then"
        )


class RootNotWritable(StorageError):
    """The data root cannot be written to."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"cannot write to data root {path}: {reason}")


class StorageFailure(StorageError):
    """The operating system refused to read or write a file."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: {reason}")


class DiskFull(StorageError):
    """The file system has no room for what was to be written; `bytes_needed` is 0 where nobody knows how much it is."""

    def __init__(self, path: Path, bytes_needed: int, bytes_free: int) -> None:
        self.path, self.bytes_needed, self.bytes_free = path, bytes_needed, bytes_free
        what = f"{path} needs {bytes_needed:,} bytes" if bytes_needed else f"{path} cannot be written to"
        super().__init__(f"disk full: {what}, the file system has {bytes_free:,} free")


class TableNotFound(StorageError):
    """The data root has no such table."""

    def __init__(self, table: str, root: Path) -> None:
        self.table, self.root = table, root
        super().__init__(f"no table {table!r} in {root}; `engram-store tables` lists what is")


class TableExists(StorageError):
    """A table of this name is there already."""

    def __init__(self, table: str, root: Path) -> None:
        self.table, self.root = table, root
        super().__init__(f"table {table!r} exists already in {root}; `import` adds a version to it")


class VersionNotFound(StorageError):
    """The table is there, but not this version of it. `current` is None when no version is current."""

    def __init__(self, table: str, version: str, current: str | None) -> None:
        self.table, self.version, self.current = table, version, current
        super().__init__(f"table {table!r} has no version {version!r:.80}; the current one is {current or 'unknown'}")


class VersionReplaced(StorageError):
    """Another version of the same name lies where the one that was meant has been."""

    def __init__(self, table: str, version: str) -> None:
        self.table, self.version = table, version
        super().__init__(f"version {version} of table {table!r} was replaced meanwhile")


class VersionIsCurrent(StorageError):
    """The current version of a table cannot be dropped."""

    def __init__(self, table: str, version: str) -> None:
        self.table, self.version = table, version
        super().__init__(
            f"version {version} of table {table!r} is the current one and cannot be dropped alone: "
            "import another one first, or drop the whole table (--all)"
        )


class IncompleteVersion(StorageError):
    """More or fewer rows were appended than the table was to have."""

    def __init__(self, table: str, num_rows_expected: int, num_rows_found: int) -> None:
        self.table, self.num_rows_expected, self.num_rows_found = table, num_rows_expected, num_rows_found
        super().__init__(f"table {table!r} was to have {num_rows_expected:,} rows, got {num_rows_found:,}")


class TableDamaged(StorageError):
    """A stored version is not what was published. `expected` and `found` are None where they say nothing."""

    def __init__(
        self,
        table: str,
        version: str,
        path: Path,
        detail: str,
        *,
        expected: int | str | None = None,
        found: int | str | None = None,
    ) -> None:
        self.table, self.version, self.path, self.detail = table, version, path, detail
        self.expected, self.found = expected, found
        values = "" if expected is None and found is None else f" (expected {expected}, found {found})"
        super().__init__(f"table {table!r} version {version} is damaged: {path}: {detail}{values}")


class FilesChanged(TableDamaged):
    """A file of an attached version is missing, or has another size or time than when it was attached."""


class VersionQuarantined(TableDamaged):
    """Processes that read the version were ended by it, so nobody serves it until `verify` finds it sound."""

    def __init__(self, table: str, version: str, path: Path, reason: str) -> None:
        self.reason = reason
        detail = f"in quarantine: {reason}; `engram-store verify` lifts it from a version that is sound"
        super().__init__(table, version, path, detail)


class BlockDamaged(TableDamaged):
    """One block of a stored version does not have the digest it was published with.

    `block` counts from 0, `first_row` and `last_row` are inside the block, `byte_offset` is where it lies in the file.
    """

    def __init__(
        self,
        table: str,
        version: str,
        path: Path,
        *,
        block: int,
        first_row: int,
        last_row: int,
        byte_offset: int,
        expected: str,
        found: str,
    ) -> None:
        self.block, self.first_row, self.last_row, self.byte_offset = block, first_row, last_row, byte_offset
        detail = f"block {block} (rows {first_row} to {last_row}, at byte {byte_offset}) has another digest"
        super().__init__(table, version, path, detail, expected=expected, found=found)


class NotEnoughMemory(StorageError):
    """A table cannot be loaded into memory."""

    def __init__(self, table: str, bytes_needed: int, reason: str) -> None:
        self.table, self.bytes_needed = table, bytes_needed
        super().__init__(f"table {table!r} needs {bytes_needed:,} bytes of memory: {reason}")


class LoadingStopped(StorageError):
    """A table was being loaded into memory when that was no longer wanted."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(f"table {table!r} was not loaded into memory: told to stop")


class VersionUnavailable(StorageError):
    """A version cannot be opened just now, for a reason that is no damage and may pass."""

    def __init__(self, table: str, version: str, reason: str) -> None:
        self.table, self.version, self.reason = table, version, reason
        super().__init__(f"version {version} of table {table!r} cannot be opened now: {reason}")


class RowsNotHeld(StorageError):
    """The version is here in part, and `row` lies in a block that is not."""

    def __init__(self, table: str, version: str, row: int) -> None:
        self.table, self.version, self.row = table, version, row
        super().__init__(f"row {row} of table {table!r} version {version} lies in a block that is not held here")


class BackendClosed(StorageError):
    """Rows were asked of a backend after it was closed."""

    def __init__(self, table: str, version: str) -> None:
        self.table, self.version = table, version
        super().__init__(f"table {table!r} version {version} is closed")


class PackageMissing(StorageError):
    """A package that this operation needs is not installed."""

    def __init__(self, package: str, purpose: str) -> None:
        self.package = package
        super().__init__(
            f"{purpose} needs the package {package}: pip install 'engram-store[server]' (from a checkout: pip install "
            "'.[server]')"
        )


class InvalidPatch(StorageError):
    """Rows cannot take the place of others; the message names the first that is wrong and where it was given."""


class VersionsDiffer(StorageError):
    """Two versions have rows that cannot be compared with each other."""


class InvalidSource(StorageError):
    """A file to import is not what it should be; the message names the file and the expected and found values."""


class InvalidCheckpoint(InvalidSource):
    """A checkpoint cannot be attached: `key` (of a JSON file, or a tensor) of `path` is not what it must be."""

    def __init__(self, path: Path, key: str, expected: object, found: object) -> None:
        self.path, self.key, self.expected, self.found = path, key, expected, found
        super().__init__(f"{path}: {key}: expected {expected}, found {found}"[:2000])

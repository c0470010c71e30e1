"""Tables on disk: a data root with immutable versions, and the ways of holding one for gathering rows."""

from store_server.storage.backend import Backend
from store_server.storage.checked_blocks import VerifyProgress
from store_server.storage.data_root import DataRoot
from store_server.storage.errors import (
    BackendClosed,
    BlockDamaged,
    DiskFull,
    FilesChanged,
    IncompleteVersion,
    InvalidCheckpoint,
    InvalidPatch,
    InvalidSource,
    InvalidTableName,
    InvalidTableSpec,
    LoadingStopped,
    NotEnoughMemory,
    PackageMissing,
    RootBusy,
    RootNotFound,
    RootNotWritable,
    RootOfAnotherNode,
    RowsNotHeld,
    StorageError,
    StorageFailure,
    TableDamaged,
    TableExists,
    TableNotFound,
    VersionIsCurrent,
    VersionNotFound,
    VersionsDiffer,
    VersionUnavailable,
)
from store_server.storage.manifest import Manifest, TableSpec
from store_server.storage.names import check_table_name
from store_server.storage.pages.resident_set import ResidentSet
from store_server.storage.root_writer import RootWriter, root_writer
from store_server.storage.verify import verify
from store_server.storage.version_writer import VersionWriter

__all__ = [
    "Backend",
    "BackendClosed",
    "BlockDamaged",
    "DataRoot",
    "DiskFull",
    "FilesChanged",
    "IncompleteVersion",
    "InvalidCheckpoint",
    "InvalidPatch",
    "InvalidSource",
    "InvalidTableName",
    "InvalidTableSpec",
    "LoadingStopped",
    "Manifest",
    "NotEnoughMemory",
    "PackageMissing",
    "ResidentSet",
    "RootBusy",
    "RootNotFound",
    "RootNotWritable",
    "RootOfAnotherNode",
    "RootWriter",
    "RowsNotHeld",
    "StorageError",
    "StorageFailure",
    "TableDamaged",
    "TableExists",
    "TableNotFound",
    "TableSpec",
    "VerifyProgress",
    "VersionIsCurrent",
    "VersionNotFound",
    "VersionUnavailable",
    "VersionWriter",
    "VersionsDiffer",
    "check_table_name",
    "root_writer",
    "verify",
]

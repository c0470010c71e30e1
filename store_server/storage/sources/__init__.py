"""Files that tables are imported from: .npy, .safetensors, and raw bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage.errors import InvalidSource
from store_server.storage.files.regular_file import fault_of_path
from store_server.storage.sources.npy import npy_rows
from store_server.storage.sources.raw import raw_rows
from store_server.storage.sources.rows_in_file import RowsInFile
from store_server.storage.sources.safetensors import safetensors_rows

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RowsInFile", "open_source"]


def open_source(path: Path, *, tensor: str | None = None, row_bytes: int | None = None) -> RowsInFile:
    """Return the rows of a file; its suffix says what it is, anything but .npy and .safetensors is raw bytes.

    `tensor` names a 2-D tensor of a .safetensors file and may be left out when there is only one. `row_bytes` is the
    width of a row of raw bytes. Raises InvalidSource.
    """
    kind = path.suffix.lower()
    if tensor is not None and kind != ".safetensors":
        raise InvalidSource(f"{path}: a tensor ({tensor!r}) can be named only in a .safetensors file")
    if row_bytes is not None and kind in (".npy", ".safetensors"):
        raise InvalidSource(f"{path}: a {kind} file says itself how wide a row is; leave out --row-bytes {row_bytes}")
    try:
        if fault := fault_of_path(path):
            raise InvalidSource(f"{path}: {fault}")
        if kind == ".npy":
            return npy_rows(path)
        if kind == ".safetensors":
            return safetensors_rows(path, tensor)
        _refuse_archives(path)
        return raw_rows(path, row_bytes)
    except OSError as error:  # a disk that fails does not say of what file
        raise InvalidSource(f"{path}: {error.strerror or error}") from error


def _refuse_archives(path: Path) -> None:
    """Refuse what is certainly not rows: .npz and .pt files are zip archives, older .pt files are pickles."""
    with path.open("rb") as file:
        if file.read(4) in (b"PK\x03\x04", b"\x80\x02\x8a\n"):
            raise InvalidSource(f"{path}: is an archive, not rows; import takes .npy, .safetensors, or raw bytes")

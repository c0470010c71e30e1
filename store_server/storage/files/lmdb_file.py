"""The data file of the `lmdb` backend: one LMDB value a block, under the block's number as 8 big-endian bytes.

All values have the size of the first block; the last is filled up with zeros.

LMDB keeps a large value in one piece, in a run of pages of its own, and maps its file as it lies. So the B-tree is
walked once, when a version is opened, for the place of every block; after that the file is mapped by us and rows are
gathered by place, without LMDB. This needs no transaction held open, because a published file never changes, and none
of LMDB's rules about environments (one a process and file, none over a fork) reach past the opening.

A run of pages begins with a header of 16 bytes. The writer sees to it that runs lie a whole number of rows apart where
that is possible (manifest.default_block_rows), which makes the quick gather of row_layout.ShiftedRows fit. Nothing but
speed depends on it.
"""

from __future__ import annotations

import errno
import math
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.durable import bytes_free, reserve_space
from store_server.storage.errors import PackageMissing, StorageFailure

try:
    import lmdb
except ImportError:  # the plain client reads flat tables without it
    lmdb = None  # type: ignore[assignment]
try:
    from lmdb import verify as lmdb_verify  # here, because to import takes file descriptors too
except ImportError:  # before LMDB 3.0
    lmdb_verify = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.manifest import TableSpec
    from store_server.storage.stored_version import StoredVersion

_KEY_BYTES = 8
_PAGE_HEADER_BYTES = 16
_MAPS = Path("/proc/self/maps")
# LMDB refuses to have one file open twice in a process, also for the moment that we need.
_opening = threading.Lock()
os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_opening.release)


def lmdb_offsets(stored: StoredVersion) -> NDArray[np.int64]:
    """Return where each block begins in an LMDB file, (num_blocks,) int64.

    Raises TableDamaged when a block is missing or has another size, StorageFailure when the file is open in LMDB
    elsewhere in this process, and PackageMissing.
    """
    _require_lmdb()
    check_lmdb_structure(stored)  # or a flipped bit in the B-tree could end the process, other tables and all
    with _opening:
        try:
            # Only the B-tree is read here; read-ahead around its pages would bring in rows that nobody asked for.
            environment = lmdb.open(str(stored.data_path), subdir=False, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            if error.code and error.code < 0:  # a number of LMDB's own: above 0 it is the operating system's
                raise stored.damaged(f"LMDB: {error}") from error
            raise StorageFailure(stored.data_path, f"LMDB: {error}") from error
        try:
            return _block_offsets(environment, stored)
        except lmdb.Error as error:
            raise stored.damaged(f"LMDB: {error}") from error
        finally:
            environment.close()


def check_lmdb_structure(stored: StoredVersion) -> None:
    """Raise TableDamaged when the B-tree is not sound, found by reading its pages without LMDB.

    LMDB trusts its pages: a flipped bit in one may send it past the end of the map, which ends the process. Takes about
    0.1 ms a block. Releases of LMDB before 3.0 cannot do it; then only the blocks are verified.
    """
    if lmdb_verify is None:
        return
    try:
        findings = lmdb_verify.verify(str(stored.data_path), subdir=False)  # type: ignore[no-untyped-call]
    except lmdb_verify.VerifyError as error:
        raise stored.damaged(f"LMDB: {error}") from error
    except OSError as error:
        raise StorageFailure(stored.data_path, error.strerror or str(error)) from error
    if findings:
        raise stored.damaged(f"LMDB: {findings[0]}")


class LmdbFileWriter:
    """Writes blocks in order, one transaction each, so that at most one block is held. Raises OSError."""

    # Free pages are kept in store for the B-tree: a page of it taken from the end of the file would push the following
    # blocks out of step. 64 blocks need about one, so this is refilled long before it is used up.
    _SPARE_PAGES = 16
    _BLOCKS_A_REFILL = 64
    _SPARE_KEY = b"\0"  # sorts before every block

    def __init__(self, path: Path, spec: TableSpec, block_rows: int) -> None:
        _require_lmdb()
        self._path = path
        self._num_blocks = 0
        self._block_bytes = min(block_rows, spec.num_rows) * spec.row_bytes
        num_blocks = -(-spec.num_rows // block_rows)
        with self._lmdb_errors_as_os_errors():
            self._environment = lmdb.open(
                str(path),
                map_size=4 * spec.num_rows * spec.row_bytes + (64 << 20),  # address space, not disk
                subdir=False,
                lock=False,  # the data root has a lock of its own
                sync=False,  # synced once, when the version is complete
                metasync=False,
                mode=0o644,
            )
        self._page_bytes = int(self._environment.stat()["psize"])
        self._spare_pages = self._spare_pages_for(spec.row_bytes) if num_blocks > 1 else 0
        self.bytes_needed = self._estimate_bytes(num_blocks)
        try:
            reserve_space(path, self.bytes_needed)
        except BaseException:
            self._environment.close()
            raise

    def write(self, block: NDArray[np.uint8]) -> None:
        """Append one block (rows, row_bytes)."""
        with self._lmdb_errors_as_os_errors():
            if self._spare_pages and self._num_blocks % self._BLOCKS_A_REFILL == 0:
                self._refill_spare_pages()
            with self._environment.begin(write=True) as transaction:
                key = self._num_blocks.to_bytes(_KEY_BYTES, "big")
                transaction.put(key, self._value(block), append=True)
        self._num_blocks += 1

    def finish(self) -> None:
        """Close the file, complete but not yet synced, without what was reserved and not used."""
        used_bytes = (int(self._environment.info()["last_pgno"]) + 1) * self._page_bytes
        self._environment.close()
        os.truncate(self._path, used_bytes)

    def abandon(self) -> None:
        """Close the file, whatever it holds."""
        self._environment.close()

    def _value(self, block: NDArray[np.uint8]) -> memoryview:
        """Return the bytes of a block; those of a short last one filled up, or it would go to the spare pages."""
        value = block.data.cast("B")
        return value if len(value) == self._block_bytes else memoryview(bytes(value).ljust(self._block_bytes, b"\0"))

    def _spare_pages_for(self, row_bytes: int) -> int:
        """Return how many pages to free at a time: a number that keeps blocks in step, 0 where they cannot be."""
        period_pages = math.lcm(row_bytes, self._page_bytes) // self._page_bytes
        spare_pages = -(-self._SPARE_PAGES // period_pages) * period_pages
        in_step = self._block_pages() % period_pages == 0
        return spare_pages if in_step and spare_pages < self._block_pages() else 0  # or a block would take them

    def _refill_spare_pages(self) -> None:
        with self._environment.begin(write=True) as transaction:
            transaction.put(self._SPARE_KEY, bytes(self._spare_pages * self._page_bytes - _PAGE_HEADER_BYTES))
        with self._environment.begin(write=True) as transaction:
            transaction.delete(self._SPARE_KEY)

    @contextmanager
    def _lmdb_errors_as_os_errors(self) -> Iterator[None]:
        """A full disk is an error number to LMDB, a full map, or, when a write was cut short, an I/O error."""
        try:
            yield
        except lmdb.Error as error:
            number = error.code if error.code > 0 else errno.EIO
            cut_short = number == errno.EIO and bytes_free(self._path) < self._block_bytes
            full = cut_short or isinstance(error, lmdb.MapFullError)
            raise OSError(errno.ENOSPC if full else number, str(error)) from error

    def _block_pages(self) -> int:
        return -(-(_PAGE_HEADER_BYTES + self._block_bytes) // self._page_bytes)

    def _estimate_bytes(self, num_blocks: int) -> int:
        spare = self._spare_pages * (1 + num_blocks // self._BLOCKS_A_REFILL)
        return (num_blocks * self._block_pages() + num_blocks // 50 + spare + 16) * self._page_bytes


def _block_offsets(environment: lmdb.Environment, stored: StoredVersion) -> NDArray[np.int64]:
    manifest = stored.manifest
    block_bytes = manifest.rows_in_block(0) * manifest.row_bytes
    addresses = np.empty(manifest.num_blocks, np.int64)
    with environment.begin(buffers=True) as transaction, transaction.cursor() as cursor:
        block = -1
        for block, (key, value) in enumerate(cursor):
            if block >= manifest.num_blocks or bytes(key) != block.to_bytes(_KEY_BYTES, "big"):
                raise stored.damaged(f"holds another key at block {block}", found=bytes(key).hex())
            if len(value) != block_bytes:
                raise stored.damaged(f"block {block} has another size", expected=block_bytes, found=len(value))
            addresses[block] = np.frombuffer(value, np.uint8).__array_interface__["data"][0]
        if block + 1 != manifest.num_blocks:
            raise stored.damaged("blocks are missing", expected=manifest.num_blocks, found=block + 1)
        offsets = addresses - _address_of_file_start(int(addresses[0]), stored)
    if offsets.min() < 0 or offsets.max() + block_bytes > manifest.data_bytes:
        raise stored.damaged("blocks lie outside the file")
    return offsets


def _address_of_file_start(address: int, stored: StoredVersion) -> int:
    """Return where byte 0 of the file lies that is mapped at `address`, as the kernel tells it."""
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError as error:
        raise StorageFailure(_MAPS, error.strerror or str(error)) from error
    for line in lines:
        span, _, offset = line.split(maxsplit=3)[:3]
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return start - int(offset, 16)
    raise StorageFailure(stored.data_path, f"{_MAPS} does not say where it is mapped")


def _require_lmdb() -> None:
    if lmdb is None:
        raise PackageMissing("lmdb", "the lmdb backend")

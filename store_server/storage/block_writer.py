"""Changes which blocks of a stored version are held: blocks that came, blocks not wanted any more, blocks found bad."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from store_server.storage.digests import block_digest
from store_server.storage.durable import disk_errors_named
from store_server.storage.errors import BlockDamaged, StorageError, StorageFailure, VersionUnavailable
from store_server.storage.files.block_places import block_places
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import HELD, blocks_of, held_bytes, held_content, held_json, parse_held, ranges_of
from store_server.storage.sparse_file import allocated_bytes, has_hole, punch, reserve_ranges
from store_server.storage.turns import turn_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.files.block_places import BlockPlaces
    from store_server.storage.held_blocks import BlockRanges
    from store_server.storage.stored_version import StoredVersion

_NEW: Final = f"{HELD}.new"


class _Opened(NamedTuple):
    places: BlockPlaces
    files: tuple[int, ...]


class BlockWriter:
    """Threads and processes may change one version at the same time: each change is one turn at its directory.

    Stays with the directory that it opened, wherever that is moved, and whatever takes its place.
    Any method raises StorageFailure, RootNotWritable, DiskFull, and TableDamaged for a held.json that says nothing.
    """

    def __init__(self, stored: StoredVersion) -> None:
        self._stored = stored
        self._manifest = stored.manifest
        self._opened: _Opened | None = None
        with disk_errors_named(stored.directory):
            self._directory = os.open(stored.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def held(self) -> NDArray[np.bool_]:
        """Return which blocks are held now, (num_blocks,)."""
        data = self._held_file()
        return np.ones(self._manifest.num_blocks, np.bool_) if data is None else parse_held(self._stored, data)

    def reserve(self, ranges: BlockRanges) -> None:
        """Take the disk space of those blocks of `ranges` that are not held, so that a full disk is found now."""
        places, files = self._opened_files()
        with self._turn():
            is_held = self.held()
            wanted = blocks_of(ranges, self._manifest.num_blocks) & ~is_held
            for number, (path, file) in enumerate(zip(places.paths, files, strict=True)):
                in_file = places.file_of == number
                spare = max(0, allocated_bytes(file) - held_bytes(self._manifest, is_held & in_file))
                stretches = [self._stretch(places, first, end) for first, end in ranges_of(wanted & in_file)]
                reserve_ranges(file, path, stretches, spare_bytes=spare)

    def store(self, blocks: Mapping[int, bytes]) -> None:
        """Write blocks, by their numbers, which the caller compared with their digests; held once they are durable.

        A block that is held already is left alone: lookups are reading it.
        """
        places, files = self._opened_files()
        with self._turn():
            is_held = self.held()
            new = [block for block in blocks if not is_held[block]]
            for block in new:
                _write_all(files[places.file_of[block]], blocks[block], int(places.offsets[block]))
            self._hold(new, is_held)

    def hold_right(self, ranges: BlockRanges) -> int:
        """Hold those blocks of `ranges` that lie in the files already, put there by another version, and are right.

        Each is read: so a bad block of a file that versions share is not taken for one of this version. Returns how
        many bytes were read.
        """
        self._opened_files()
        right, bytes_read = [], 0
        with self._turn():
            is_held = self.held()
            for block in np.flatnonzero(blocks_of(ranges, self._manifest.num_blocks) & ~is_held).tolist():
                rows = self._lying(block)
                bytes_read += rows.nbytes
                if block_digest(rows) == self._manifest.block_digests[block]:
                    right.append(block)
            self._hold(right, is_held)
        return bytes_read

    def quarantine(self, block: int) -> bool:
        """Hold a block no longer that has not its digest or cannot be read; False if it is sound, or was not held."""
        with self._turn():
            is_held = self.held()
            if not is_held[block] or self._is_intact(block):
                return False
            is_held[block] = False
            self._replace_held(is_held, self._removals() + 1)
            return True

    def let_go(self, ranges: BlockRanges) -> None:
        """Hold blocks no longer; `give_back` gives back their disk space once lookups that saw them held have ended."""
        with self._turn():
            is_held = self.held()
            is_held[blocks_of(ranges, self._manifest.num_blocks)] = False
            self._replace_held(is_held, self._removals() + 1)

    def give_back(self, ranges: BlockRanges) -> bool:
        """Give back the disk space of those blocks of `ranges` that are still not held, where a file system can.

        A file that another version has too stays as it is; returns False if some of the blocks lie in one.
        """
        is_done = True
        places, files = self._opened_files()
        with self._turn():
            unwanted = blocks_of(ranges, self._manifest.num_blocks) & ~self.held()
            for number, (path, file) in enumerate(zip(places.paths, files, strict=True)):
                in_file = unwanted & (places.file_of == number)
                if self._is_of_others(path, file):
                    is_done &= not in_file.any()
                    continue
                for first, end in ranges_of(in_file):
                    if not punch(file, *self._stretch(places, first, end)):
                        break
        return is_done

    @contextlib.contextmanager
    def kept_whole(self) -> Iterator[None]:
        """Keep every block where it lies until the block of code ends; raises VersionUnavailable unless all are held.

        Others wait meanwhile, as for any change.
        """
        with self.kept() as is_held:
            if not is_held.all():
                reason = f"{is_held.sum():,} of {len(is_held):,} blocks are held, and all are needed"
                raise VersionUnavailable(self._stored.table, self._stored.version, reason)
            yield

    @contextlib.contextmanager
    def kept(self) -> Iterator[NDArray[np.bool_]]:
        """Keep every block that is held where it lies until the block of code ends; yields which are, (num_blocks,)."""
        with self._turn():
            yield self.held()

    def close(self) -> None:
        """Let go of the files. May be called again."""
        files = () if self._opened is None else self._opened.files
        for descriptor in (*files, self._directory):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._opened, self._directory = None, -1

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with disk_errors_named(self._stored.directory), turn_at(self._directory, self._stored.directory):
            yield

    def _opened_files(self) -> _Opened:
        """Return where each block lies, and the files for it open for writing."""
        if self._manifest.is_attached:
            raise StorageError(
                f"table {self._stored.table!r} version {self._stored.version} lies in files of a checkpoint, which are "
                "not ours to write: restore the files themselves"
            )
        if self._opened is None:
            places, files = block_places(self._stored), []
            try:
                for path in places.paths:
                    with disk_errors_named(path):
                        files.append(os.open(path.name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._directory))
            except BaseException:
                for file in files:
                    os.close(file)
                raise
            self._opened = _Opened(places, tuple(files))
        return self._opened

    def _is_of_others(self, path: Path, file: int) -> bool:
        """Tell whether a file has another name than the one in our directory, or has lost that one."""
        status = os.fstat(file)
        try:
            is_ours = os.path.samestat(status, os.stat(path.name, dir_fd=self._directory))
        except FileNotFoundError:  # dropped: whoever has it still, it is not we
            is_ours = False
        return status.st_nlink > 1 or not is_ours

    def _stretch(self, places: BlockPlaces, first: int, end: int) -> tuple[int, int]:
        """Return where the blocks of a range lie in their file: byte, bytes."""
        offsets, last_bytes = places.offsets, self._manifest.rows_in_block(end - 1) * self._manifest.row_bytes
        return int(offsets[first]), int(offsets[end - 1] - offsets[first]) + last_bytes

    def _lying(self, block: int) -> NDArray[np.uint8]:
        """Return the bytes of a block that lie in its file; none where that has a hole, or cannot be read."""
        places, files = self._opened_files()
        file, (offset, size) = files[places.file_of[block]], self._stretch(places, block, block + 1)
        if has_hole(file, offset, size):
            return np.empty(0, np.uint8)
        try:
            return np.frombuffer(os.pread(file, size, offset), np.uint8)
        except OSError:  # as good as another digest: it is to come from elsewhere
            return np.empty(0, np.uint8)

    def _hold(self, blocks: list[int], is_held: NDArray[np.bool_]) -> None:
        """Hold blocks besides those that are held, once they are durable."""
        if not blocks:
            return
        places, files = self._opened_files()
        for number in np.unique(places.file_of[blocks]).tolist():
            os.fdatasync(files[number])
        is_held[blocks] = True
        self._replace_held(is_held, self._removals())

    def _is_intact(self, block: int) -> bool:
        rows = np.empty((self._manifest.rows_in_block(block), self._manifest.row_bytes), np.uint8)
        with contextlib.closing(open_files(self._stored)) as files:
            try:
                files.read_checked_into(block, rows)
            except (BlockDamaged, StorageFailure):  # another digest, or a disk that cannot read it
                return False
        return True

    def _replace_held(self, is_held: NDArray[np.bool_], removals: int) -> None:
        """Replace held.json at once, with a time of its own: that is how readers know it from the one before."""
        descriptor = os.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=self._directory)
        with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123  (a descriptor has no path)
            file.write(held_json(is_held, removals))
            now = max(time.time_ns(), self._held_since() + 1)
            os.utime(descriptor, ns=(now, now))
            os.fsync(descriptor)
        os.rename(_NEW, HELD, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.fsync(self._directory)

    def _held_file(self) -> bytes | None:
        """Return the content of held.json, None for a version that is whole."""
        try:
            descriptor = os.open(HELD, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailure(self._stored.directory / HELD, error.strerror or str(error)) from error
        with open(descriptor, "rb") as file:  # noqa: PTH123  (a descriptor has no path)
            return file.read()

    def _removals(self) -> int:
        data = self._held_file()
        return 0 if data is None else held_content(data, self._manifest.num_blocks).removals

    def _held_since(self) -> int:
        try:
            return os.stat(HELD, dir_fd=self._directory).st_mtime_ns
        except FileNotFoundError:
            return 0


def _write_all(descriptor: int, block: bytes, offset: int) -> None:
    view = memoryview(block)
    while len(view):
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written

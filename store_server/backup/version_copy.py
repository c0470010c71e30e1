"""Copies one version into a backup, where it appears once it is whole. What was copied before an interruption stays."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from store_server.backup.copied_files import complete_file, make_files, twin_of
from store_server.storage.arrivals import begin_arrival, home_of, place_arrival_by
from store_server.storage.block_writer import BlockWriter
from store_server.storage.durable import disk_errors_named, sync_directory
from store_server.storage.held_blocks import HELD, held_bytes, ranges_of, runs_of

if TYPE_CHECKING:
    from store_server.backup.source_version import SourceVersion
    from store_server.cluster.blocks.pace import Pace
    from store_server.storage import DataRoot, RootWriter

BATCH_BYTES: Final = 16 << 20
Progress = Callable[[int, int], None]
"""Told the bytes done so far, and how many there are."""


class VersionCopy:
    """A version on its way from one data root into another, `writer.root`, or there already.

    A batch of blocks is held in memory, and synced to disk together.
    """

    def __init__(
        self,
        source: SourceVersion,
        root: DataRoot,
        writer: RootWriter,
        pace: Pace,
        *,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self._source, self._root, self._writer, self._pace = source, root, writer, pace
        self._batch_bytes = batch_bytes
        self._table, self._manifest = source.stored.table, source.stored.manifest
        self._never = threading.Event()
        self.bytes_copied = 0

    def run(self, progress: Progress) -> bool:
        """Copy what is missing, each block compared with its digest, then let the version appear, if it is new.

        Returns False where nothing was missing.

        Raises VersionGone and SourceUnreadable, and of the backup's disk DiskFull, RootNotWritable, StorageFailure.
        """
        to, version = self._writer.root, self._manifest.version
        home = self._begun_before(to) or self._begun(to)
        is_new, directory = home is not to, home.version_path(self._table, version)
        if is_new:
            data_path = directory / self._source.stored.data_path.name
            complete_file(self._source, data_path, partial(self._count, progress), piece_bytes=self._batch_bytes)
        with BlockWriter(home.stored_version(self._table, version)) as blocks:
            self._copy_blocks(blocks, progress)
            is_whole = bool(blocks.held().all())
        if is_whole and self._source.is_whole:
            with disk_errors_named(directory):
                (directory / HELD).unlink(missing_ok=True)
                sync_directory(directory)
        if is_new:
            place_arrival_by(self._writer, self._table, version)
        return is_new or self.bytes_copied > 0

    def _begun_before(self, to: DataRoot) -> DataRoot | None:
        """Return where the version lies in the backup; what was begun of it when it lay in other files goes."""
        home = home_of(to, self._table, self._manifest.version)
        if home in (to, None) or home.manifest(self._table, self._manifest.version) == self._manifest:
            return home
        with disk_errors_named(home.path):
            shutil.rmtree(home.table_path(self._table))
        return None

    def _begun(self, to: DataRoot) -> DataRoot:
        stored = self._source.stored
        twin = twin_of(stored, self._root, to)
        return begin_arrival(to, self._table, self._manifest, make_files=partial(make_files, stored, twin))

    def _copy_blocks(self, blocks: BlockWriter, progress: Progress) -> None:
        wanted = self._source.held
        for run in runs_of(wanted & ~blocks.held(), self._manifest, self._batch_bytes):
            self._pace.wait(blocks.hold_right([run]), self._never)  # of a twin's file, or one that was copied whole
        blocks.reserve(ranges_of(wanted & ~blocks.held()))
        for first, end in runs_of(wanted & ~blocks.held(), self._manifest, self._batch_bytes):
            got = self._source.read(range(first, end))
            blocks.store(got)
            self.bytes_copied += sum(map(len, got.values()))
            progress(held_bytes(self._manifest, wanted & blocks.held()), held_bytes(self._manifest, wanted))
            self._pace.wait(sum(map(len, got.values())), self._never)

    def _count(self, progress: Progress, num_bytes: int, file_bytes: int) -> None:
        self._pace.wait(num_bytes, self._never)
        self.bytes_copied += num_bytes
        progress(file_bytes, self._manifest.data_bytes)

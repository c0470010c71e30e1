"""Copies blocks of a version into a data root. What is held already is not fetched: so an interrupted copy goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.cluster.blocks.pace import Pace
from store_server.cluster.blocks.right_blocks import RightBlocks, right_manifest
from store_server.storage import RootBusy
from store_server.storage.arrivals import begin_arrival, home_of, place_arrival
from store_server.storage.block_writer import BlockWriter
from store_server.storage.held_blocks import blocks_of, held_bytes, runs_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store_server.cluster.blocks.block_source import BlockSource
    from store_server.storage import DataRoot, Manifest

_BATCH_BYTES: Final = 16 << 20
_LONGEST_WAIT_SECONDS: Final = 30.0  # for another writer of the data root, once all blocks are here
_LOOK_SECONDS: Final = 0.1


class CopyStopped(Exception):
    """Was told to stop. What came before is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """How much of what is wanted is held, what was there before included."""

    blocks_done: int
    num_blocks: int
    bytes_done: int
    num_bytes: int


def copy_blocks(
    root: DataRoot,
    table: str,
    version: str,
    wanted: Sequence[tuple[int, int]] | None,
    sources: Sequence[BlockSource],
    *,
    progress: Callable[[CopyProgress], None] = lambda _: None,
    bytes_per_second: float | None = None,
    batch_bytes: int = _BATCH_BYTES,
    stop: threading.Event | None = None,
) -> None:
    """Hold the blocks of the half-open ranges `wanted`, None for all; those held already stay.

    Those that lie here in the file of another version are read, and fetched only if they are not right. What is read
    and what is fetched takes no more than `bytes_per_second`.
    A version that is new here appears with its first blocks, as the current one of its table if that is new too. A
    batch of blocks is held in memory and synced to disk together. Call it in a thread; `stop` ends it after one batch.
    Raises CannotCopy, CopyStopped, ValueError for ranges outside the version, and what storage raises: DiskFull before
    a block is fetched, RootBusy when all blocks are here and another writer keeps them from appearing.
    """
    stop = stop or threading.Event()
    home = home_of(root, table, version)
    manifest = home.manifest(table, version) if home is not None else right_manifest(sources, table, version)
    ranges = [(0, manifest.num_blocks)] if wanted is None else wanted
    blocks = blocks_of(ranges, manifest.num_blocks)
    if not blocks.any():
        return
    home = home or begin_arrival(root, table, manifest)
    right, pace = RightBlocks(sources, table, manifest), Pace(bytes_per_second)
    with BlockWriter(home.stored_version(table, version)) as writer:
        for run in runs_of(blocks & ~writer.held(), manifest, batch_bytes):
            _require_going_on(stop, table, version)
            pace.wait(writer.hold_right([run]), stop)
        writer.reserve(ranges)
        is_placed = home is root
        progress(_progress(manifest, blocks, writer.held()))
        while (missing := blocks & ~writer.held()).any():
            _require_going_on(stop, table, version)
            got = right.fetch(*next(runs_of(missing, manifest, batch_bytes)))
            writer.store(got)
            is_placed = is_placed or _could_place(root, table, version)
            progress(_progress(manifest, blocks, writer.held()))
            pace.wait(sum(map(len, got.values())), stop)
    if not is_placed:
        _place_at_last(root, table, version, stop)


def _require_going_on(stop: threading.Event, table: str, version: str) -> None:
    if stop.is_set():
        raise CopyStopped(f"version {version} of table {table!r} is not copied wholly: told to stop")


def _progress(manifest: Manifest, blocks: NDArray[np.bool_], is_held: NDArray[np.bool_]) -> CopyProgress:
    done = blocks & is_held
    return CopyProgress(
        blocks_done=int(done.sum()),
        num_blocks=int(blocks.sum()),
        bytes_done=held_bytes(manifest, done),
        num_bytes=held_bytes(manifest, blocks),
    )


def _could_place(root: DataRoot, table: str, version: str) -> bool:
    """Let the version appear; whoever else writes to the data root has time until the last block is here."""
    try:
        place_arrival(root, table, version)
    except RootBusy:
        return False
    return True


def _place_at_last(root: DataRoot, table: str, version: str, stop: threading.Event) -> None:
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    while not _could_place(root, table, version):
        if time.monotonic() >= deadline or stop.wait(_LOOK_SECONDS):
            place_arrival(root, table, version)  # the last time, and RootBusy says who is in the way
            return

"""Versions of which a node holds some blocks."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store_server.storage import DataRoot, Manifest
from store_server.storage.arrivals import begin_arrival, place_arrival
from store_server.storage.block_writer import BlockWriter


def block_bytes(rows: NDArray[np.uint8], block_rows: int, block: int) -> bytes:
    """The rows of one block."""
    return rows[block * block_rows : (block + 1) * block_rows].tobytes()


def manifest_of(root: Path, name: str) -> Manifest:
    """The manifest of the current version of a table."""
    data_root = DataRoot.open(root)
    return data_root.manifest(name, data_root.current_version(name))


def make_part(root: Path, name: str, rows: NDArray[np.uint8], manifest: Manifest, blocks: list[int]) -> None:
    """Put some blocks of a version, whose rows are `rows`, into a data root that may not be there yet."""
    (root / "tables").mkdir(parents=True, exist_ok=True)
    data_root = DataRoot.open(root)
    arrival = begin_arrival(data_root, name, manifest)
    with BlockWriter(arrival.stored_version(name, manifest.version)) as writer:
        writer.store({block: block_bytes(rows, manifest.block_rows, block) for block in blocks})
    place_arrival(data_root, name, manifest.version)


def writer_of(root: Path, name: str) -> BlockWriter:
    """What changes which blocks of the current version of a table are held."""
    data_root = DataRoot.open(root)
    return BlockWriter(data_root.stored_version(name, data_root.current_version(name)))

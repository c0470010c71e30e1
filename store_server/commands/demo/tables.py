"""The demo's tables: random bfloat16 rows that can be made again, to compare with what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.commands.demo.steps import step
from store_server.storage import TableSpec, root_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from engram_model import EngramConfig

ROW_FORMAT: Final = "bfloat16"
_ELEMENT_BYTES: Final = 2
_SEED: Final = 2026
_PIECE_ROWS: Final = 2**14


def table_name(layer: int) -> str:
    """Return the name of a layer's table."""
    return f"demo/layer-{layer}"


def table_specs(config: EngramConfig, token_map: NDArray[np.int64]) -> dict[int, TableSpec]:
    """Return what the table of each layer is to be: as many rows as the hash reaches, and the hash's fingerprint."""
    from engram_client.hashing import NgramHasher

    hasher = NgramHasher(config.hash_spec, token_map)
    return {
        layer: TableSpec(
            num_rows=hasher.num_rows[layer],
            row_bytes=config.embedding_dim * _ELEMENT_BYTES,
            row_format=ROW_FORMAT,
            fingerprint=hasher.fingerprint(layer),
        )
        for layer in config.layer_ids
    }


def write_tables(root: Path, specs: Mapping[int, TableSpec]) -> None:
    """Publish one table a layer, piece by piece."""
    num_bytes = sum(spec.num_rows * spec.row_bytes for spec in specs.values())
    with step(f"write {len(specs)} tables, {num_bytes / 1e6:,.0f} MB"), root_writer(root) as writer:
        for layer, spec in specs.items():
            with writer.new_version(table_name(layer), spec) as version:
                for piece in _row_pieces(layer, spec):
                    version.append(piece)
                version.publish()


def written_rows(layer: int, spec: TableSpec) -> NDArray[np.uint8]:
    """Return what was written, (num_rows, row_bytes): from the generator, not from disk."""
    return np.concatenate(list(_row_pieces(layer, spec)))


def _row_pieces(layer: int, spec: TableSpec) -> Iterator[NDArray[np.uint8]]:
    """Yield standard normal numbers as rows (rows, row_bytes), the same at every call."""
    from engram_client import formats

    generator = np.random.default_rng([_SEED, layer])
    for first in range(0, spec.num_rows, _PIECE_ROWS):
        shape = (min(_PIECE_ROWS, spec.num_rows - first), spec.row_bytes // _ELEMENT_BYTES)
        yield formats.encode(generator.standard_normal(shape, dtype=np.float32), ROW_FORMAT)

"""Writes made-up checkpoints, whole or with holes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from store_server.storage.checkpoint.layout import COLUMNS_A_SCALE, CONFIG, INDEX, TOKENIZER, scale_name, weight_name
from store_server.storage.checkpoint.synthetic import HEAD_DIM, Shard, SyntheticCheckpoint
from store_server.storage.checkpoint.synthetic_rows import synthetic_rows
from store_server.storage.durable import disk_errors_named, reserve_space
from store_server.storage.errors import StorageFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_ROWS_A_PIECE: Final = (1 << 20) // HEAD_DIM
_WKV_LAYER: Final = 1 << 20  # so that its values are not those of a table
_BF16_ONE: Final = b"\x80\x3f"


def write_checkpoint(
    directory: Path,
    checkpoint: SyntheticCheckpoint,
    *,
    sparse: bool = False,
    tokenizer: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a checkpoint, whole or not at all; `advance` is told the bytes of rows written since the last call.

    With `sparse` the files have their full size and hold the rows of `Shard.landmarks`; all others, and wkv, are holes,
    which read as zeros. `tokenizer` is copied. Raises StorageFailure when `directory` is there and not empty, DiskFull,
    RootNotWritable.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise StorageFailure(directory, "is there already, and is not an empty directory")
    target = directory.absolute()
    staging = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    with disk_errors_named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        try:
            for shard in checkpoint.shards():
                _write_shard(staging / shard.file_name, shard, sparse=sparse, advance=advance)
            if tokenizer is not None:
                shutil.copyfile(tokenizer, staging / TOKENIZER)
            _write_json(staging / INDEX, _index(checkpoint))
            _write_json(staging / CONFIG, checkpoint.config())
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _index(checkpoint: SyntheticCheckpoint) -> dict[str, Any]:
    shards = checkpoint.shards()
    total = sum(num_bytes for shard in shards for _, _, num_bytes in shard.tensors().values())
    return {
        "metadata": {"total_size": total},
        "weight_map": {name: shard.file_name for shard in shards for name in shard.tensors()},
    }


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n")


def _write_shard(path: Path, shard: Shard, *, sparse: bool, advance: Callable[[int], None]) -> None:
    if not sparse:
        reserve_space(path, shard.num_bytes)  # a full disk is found now
    offsets = shard.offsets()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.truncate(descriptor, shard.num_bytes)
        _write_all(descriptor, shard.header(), 0)
        for name, (dtype, _, num_bytes) in shard.tensors().items():
            if dtype == "BF16":
                _write_all(descriptor, _BF16_ONE * (num_bytes // 2), offsets[name])
        if not sparse:
            _write_wkv(descriptor, shard, offsets)
        runs = _runs(shard.landmarks()) if sparse else [range(shard.num_rows)]
        for rows in _pieces(runs):
            content = synthetic_rows(np.asarray(rows), shard.layer, HEAD_DIM)
            _write_columns(descriptor, content[:, :HEAD_DIM], rows.start, offsets[weight_name(shard.layer)])
            _write_columns(descriptor, content[:, HEAD_DIM:], rows.start, offsets[scale_name(shard.layer)])
            advance(content.size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_wkv(descriptor: int, shard: Shard, offsets: dict[str, int]) -> None:
    """Write the fusion's projection: rows of the formula for layer 2^20 + its own, scales from every 32nd of them."""
    outputs, inputs = shard.wkv_shape
    for first in range(0, outputs, COLUMNS_A_SCALE):
        content = synthetic_rows(np.arange(first, first + COLUMNS_A_SCALE), _WKV_LAYER + shard.layer, inputs)
        _write_columns(descriptor, content[:, :inputs], first, offsets[shard.wkv_weight_name])
        _write_columns(descriptor, content[:1, inputs:], first // COLUMNS_A_SCALE, offsets[shard.wkv_scale_name])


def _runs(rows: NDArray[np.int64]) -> list[range]:
    """Return rising numbers as ranges."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return [range(int(run[0]), int(run[-1]) + 1) for run in np.split(rows, cuts)]


def _pieces(runs: Iterable[range]) -> Iterator[range]:
    for run in runs:
        for start in range(0, len(run), _ROWS_A_PIECE):
            yield run[start : start + _ROWS_A_PIECE]


def _write_columns(descriptor: int, columns: NDArray[np.uint8], first_row: int, offset: int) -> None:
    _write_all(descriptor, columns.tobytes(), offset + first_row * columns.shape[1])


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while len(view):
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count

"""Versions whose rows lie in tensors of .safetensors files: the manifest that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage.files.safetensors_file import DTYPE_BITS
from store_server.storage.manifest import ATTACHED, Manifest, default_block_rows
from store_server.storage.sample import sample_digest
from store_server.storage.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store_server.storage.files.safetensors_file import SafetensorsFile, Tensor


def attached_manifest(
    tensors: Sequence[tuple[SafetensorsFile, Tensor]],
    *,
    row_format: str = "",
    fingerprint: str = "",
    index_digest: str = "",
) -> Manifest:
    """Return the version whose rows have the columns of 2-D tensors of as many rows, beside each other in this order.

    Reads a small sample of the rows. Raises InvalidTableSpec and StorageFailure.
    """
    segments = tuple(_segment(file, tensor) for file, tensor in tensors)
    row_bytes = sum(segment.row_bytes for segment in segments)
    return Manifest(
        num_rows=tensors[0][1].shape[0],
        row_bytes=row_bytes,
        row_format=row_format,
        fingerprint=fingerprint,
        backend=ATTACHED,
        data_bytes=0,
        block_rows=default_block_rows(row_bytes),
        block_digests=(),
        segments=segments,
        index_digest=index_digest,
    )


def _segment(file: SafetensorsFile, tensor: Tensor) -> Segment:
    return Segment(
        path=str(file.path.absolute()),
        tensor=tensor.name,
        offset=tensor.offset,
        row_bytes=tensor.shape[1] * DTYPE_BITS[tensor.dtype] // 8,
        file_bytes=file.num_bytes,
        mtime_ns=file.mtime_ns,
        header_digest=file.header_digest,
        sample_digest=sample_digest(file.path, tensor.offset, tensor.num_bytes),
    )

"""Checkpoints: small ones made by the library that owns the format."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from store_server.storage import root_writer
from store_server.storage.attachment import attached_manifest
from store_server.storage.files.safetensors_file import read_safetensors_file


def attach_rows(root: Path, name: str, rows: NDArray[np.uint8], *, row_format: str = "", fingerprint: str = "") -> str:
    """Put the columns of rows into two tensors of a file beside the root, attach them and return the version.

    Rows of a single byte are one tensor. Other tensors lie before and between them, at odd places.
    """
    cut = rows.shape[1] * 32 // 33
    parts = {f"{place}.rows": part for place, part in enumerate(np.split(rows, [cut], axis=1)) if part.size}
    others = {f"{place}.others": np.arange(3 + place, dtype=np.uint8) for place in range(2)}
    path = root.parent / f"{name.replace('/', '@')}.safetensors"
    save_file({tensor: np.ascontiguousarray(part) for tensor, part in {**others, **parts}.items()}, path)
    file = read_safetensors_file(path)
    manifest = attached_manifest(
        [(file, file.tensors[tensor]) for tensor in sorted(parts)], row_format=row_format, fingerprint=fingerprint
    )
    with root_writer(root) as writer:
        writer.attach({name: manifest})
    return manifest.version

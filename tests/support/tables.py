"""Data roots with known rows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store_server.storage import TableSpec, root_writer


def write_table(
    root: Path,
    name: str,
    rows: NDArray[np.uint8],
    *,
    backend: str = "mmap",
    row_format: str = "",
    fingerprint: str = "",
) -> str:
    """Publish `rows` as a version of a table and return the version."""
    spec = TableSpec(num_rows=len(rows), row_bytes=rows.shape[1], row_format=row_format, fingerprint=fingerprint)
    with root_writer(root) as writer, writer.new_version(name, spec, backend=backend) as version:
        version.append(rows)
        return version.publish()

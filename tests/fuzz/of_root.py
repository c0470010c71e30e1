"""What lies in a data root: manifests, CURRENT, held.json and the structure of data files, changed at will.

Whatever is there, a version opens with the rows that were published, or is refused in one of the documented ways.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from fuzz.json_text import hostile_json
from fuzz.sent import send
from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.wire_bytes import hostile_bytes
from numpy.typing import NDArray
from support.checkpoints import attach_rows
from support.patches import patch_table, with_rows
from support.rows import random_rows
from support.tables import write_table

from store_server.storage import DataRoot, InvalidTableSpec, Manifest, StorageError
from store_server.storage.held_blocks import HELD

_NUM_ROWS, _ROW_BYTES = 64, 33
_CHECKED_ROWS: Final = np.arange(_NUM_ROWS)


class _Version(NamedTuple):
    table: str
    version: str
    directory: Path
    manifest: dict[str, Any]
    rows: NDArray[np.uint8]


def manifest_target(_: Path) -> contextlib.AbstractContextManager[TryOne]:
    """Read manifests alone, without the files that they speak of."""
    return contextlib.nullcontext(_try_manifest)


def _try_manifest(rng: random.Random) -> str:
    data = hostile_json(rng, _MANIFESTS)
    try:
        found = Manifest.from_json(data)
    except InvalidTableSpec as error:
        str(error)
        return REFUSED
    again = Manifest.from_json(found.to_json())
    if again != found or again.version != found.version:
        raise Wrong(f"{data!r}: {found} is not what is read of it once it was written")
    if not 0 < sum(map(found.rows_in_block, range(min(found.num_blocks, 1000)))) <= found.num_rows:
        raise Wrong(f"{data!r}: {found.num_blocks} blocks do not hold {found.num_rows} rows")
    return ACCEPTED


_PLAIN: Final = Manifest(
    num_rows=10,
    row_bytes=8,
    row_format="float32",
    fingerprint="f",
    backend="mmap",
    data_bytes=80,
    block_rows=5,
    block_digests=("0" * 32, "1" * 32),
)
_SEGMENT: Final = {
    "path": "/models/a.safetensors",
    "tensor": "t",
    "offset": 8,
    "row_bytes": 8,
    "file_bytes": 88,
    "mtime_ns": 1,
    "header_digest": "h",
    "sample_digest": "s",
}
_MANIFESTS: Final = (
    json.loads(_PLAIN.to_json()),
    json.loads(_PLAIN.to_json()) | {"changed": {"ranges": [[1, 2]], "file_bytes": 40}},
    json.loads(_PLAIN.to_json())
    | {"backend": "safetensors", "data_bytes": 0, "segments": [_SEGMENT], "index_digest": "i", "block_digests": []},
)


@contextlib.contextmanager
def root_target(directory: Path) -> Iterator[TryOne]:
    """Open versions of a root in which one file after another is made hostile, and put right again."""
    root = directory / "root"
    versions = list(_versions(root))
    yield lambda rng: _try_root(rng, DataRoot.open(root), rng.choice(versions))


def _versions(root: Path) -> Iterator[_Version]:
    for number, kind in enumerate(("mmap", "lmdb", "attached", "patched")):
        rows = random_rows(_NUM_ROWS, _ROW_BYTES, seed=number)
        if kind == "attached":
            version = attach_rows(root, kind, rows)
        else:
            version = write_table(root, kind, rows, backend="lmdb" if kind == "lmdb" else "mmap")
        if kind == "patched":
            new = 255 - rows[[3]]
            version, rows = patch_table(root, kind, [3], new).version, with_rows(rows, [3], new)
        folder = root / "tables" / kind / "versions" / version
        yield _Version(kind, version, folder, json.loads((folder / "table.json").read_bytes()), rows)


def _try_root(rng: random.Random, root: DataRoot, version: _Version) -> str:
    path, content = _hostile_file(rng, version)
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        return _opened(rng, root, version, is_data_changed=path.name.startswith(("rows.", "changed.")))
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


def _hostile_file(rng: random.Random, version: _Version) -> tuple[Path, bytes]:
    match rng.randrange(4):
        case 0:
            return version.directory / HELD, hostile_json(rng, ({"format": 1, "blocks": [[0, 1]], "removals": 0},))
        case 1:
            path = version.directory.parents[1] / "CURRENT"
            return path, hostile_bytes(rng, path.read_bytes())
        case 2:
            return version.directory / "table.json", hostile_json(rng, (version.manifest,))
        case _:
            data = sorted(version.directory.glob("rows.*")) or [version.directory / "table.json"]
            return data[0], hostile_bytes(rng, hostile_bytes(rng, data[0].read_bytes()))


def _opened(rng: random.Random, root: DataRoot, version: _Version, *, is_data_changed: bool) -> str:
    in_memory = rng.random() < 0.3
    rows = np.empty_like(version.rows)
    try:
        root.table_names()
        root.versions(version.table)
        backend = root.open_backend(version.table, version.version, in_memory=in_memory)
        with contextlib.closing(backend):
            backend.gather(_CHECKED_ROWS, rows)
    except StorageError as error:
        send(error)
        return REFUSED
    # What is mapped is not read when it is opened: that its digests fit is for `verify` to say.
    if not np.array_equal(rows, version.rows) and (in_memory or not is_data_changed):
        raise Wrong(f"{version.table}: other rows than were published")
    return ACCEPTED

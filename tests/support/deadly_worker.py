"""A worker whose disk fails: reading row 7 of a table "bad..." touches a map whose file was cut short, a real SIGBUS.

The file is cut short after its length was looked at and before it is read, as no check can rule out.
"""

import mmap
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.hooked_root import HookedRoot

from store_server.storage import Backend
from store_server.workers.worker import main

DEADLY_ROW = 7
PROGRAM = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); import support.deadly_worker as w; w.run()",
)


class FailingBackend:
    def __init__(self, backend: Backend) -> None:
        self.num_rows, self.row_bytes, self.kind = backend.num_rows, backend.row_bytes, backend.kind
        self.resident, self.refresh_residency, self.close = True, backend.refresh_residency, backend.close
        self._backend = backend

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        touch_a_map_cut_short(rows)
        self._backend.gather(rows, out)

    def gather_from_ram(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:
        touch_a_map_cut_short(rows)
        return self._backend.gather_from_ram(rows, out)


def touch_a_map_cut_short(rows: NDArray[np.int64]) -> None:
    if DEADLY_ROW not in rows:
        return
    file = os.memfd_create("failing disk")
    os.ftruncate(file, 4096)
    mapped = mmap.mmap(file, 4096)
    if mapped.size() == 4096:
        os.ftruncate(file, 0)
        mapped[0]


def failing(open_backend, name, version, **options):
    backend = open_backend(name, version, **options)
    return FailingBackend(backend) if name.startswith("bad") else backend


def run() -> None:
    sys.exit(main(sys.argv[1], lambda path: HookedRoot(path, failing)))

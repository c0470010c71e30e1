"""What the storage tests share: publishing rows, and disks that are small or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.checkpoints import attach_rows
from support.tables import write_table

from store_server.storage import Backend, DataRoot

Publish = Callable[..., str]
OpenVersion = Callable[..., Backend]
MountTmpfs = Callable[[str], AbstractContextManager[Path]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture(scope="session")
def publish() -> Publish:
    """Store rows (n, row_bytes) as a version that becomes current; returns its name."""

    def publish_rows(root: Path, name: str, rows: NDArray[np.uint8], *, backend: str = "mmap", **spec: str) -> str:
        if backend == "safetensors":
            return attach_rows(root, name, rows, **spec)
        return write_table(root, name, rows, backend=backend, **spec)

    return publish_rows


@pytest.fixture
def open_version() -> Iterator[OpenVersion]:
    """Open a version of a table, the current one unless named; closed when the test ends."""
    opened: list[Backend] = []

    def open_one(root: Path, name: str, version: str | None = None, **options: bool) -> Backend:
        data_root = DataRoot.open(root)
        opened.append(data_root.open_backend(name, version or data_root.current_version(name), **options))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


@pytest.fixture
def mount_tmpfs(tmp_path: Path) -> MountTmpfs:
    """Mount a tmpfs with the options given; skips where that is not permitted."""

    @contextmanager
    def mounted(options: str) -> Iterator[Path]:
        place = tmp_path / "mounted"
        place.mkdir()
        command = ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
            pytest.skip("mounting a tmpfs needs root")
        try:
            yield place
        finally:
            subprocess.run(["/bin/umount", "--lazy", str(place)], check=True)

    return mounted

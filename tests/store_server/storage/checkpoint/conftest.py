"""What the checkpoint tests share: a small checkpoint, and ways to spoil one."""

from __future__ import annotations

from pathlib import Path

import pytest

from store_server.storage.checkpoint import SyntheticCheckpoint, write_checkpoint

SMALL = SyntheticCheckpoint(scale=1e-5)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The directory of a checkpoint with about 5,000 rows a layer."""
    write_checkpoint(tmp_path / "checkpoint", SMALL)
    return tmp_path / "checkpoint"

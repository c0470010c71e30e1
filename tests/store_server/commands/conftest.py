"""What the command tests share: running a command in this process, and data roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from store_server.commands import main

Run = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failure must end with."""
        assert "Traceback" not in self.err
        last = self.err.splitlines()[-1]
        assert last.startswith("error: ")
        return last


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line as `engram-store` would."""

    def run_command(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run_command


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"

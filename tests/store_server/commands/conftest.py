"""What the command tests share: running a command in this process, and data roots."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from support.published_cluster import PublishedCluster, published_cluster

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
def run(capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command line as `engram-store` would; what it set for its process is taken back."""

    def run_command(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield run_command
    for number, handler in handlers.items():
        signal.signal(number, handler)
    structlog.reset_defaults()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedCluster]:
    """Three nodes that tests publish to, each sets of its own: starting them takes longer than most tests."""
    with published_cluster(tmp_path_factory.mktemp("cluster"), 3, "--copy-rate", "64MiB") as cluster:
        yield cluster

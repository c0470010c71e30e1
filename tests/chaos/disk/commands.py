"""`engram-store` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

_LIMIT_SECONDS = 180  # above the --timeout that the longest is given


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failure must leave, whatever bar of progress is above it."""
        assert "Traceback" not in self.err
        assert self.err.count("error: ") == 1, self.err
        return self.err.splitlines()[-1]


def run(*arguments: object) -> Outcome:
    """Run a command to its end."""
    command = [sys.executable, "-m", "store_server", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    return Outcome(ended.returncode, ended.stdout, ended.stderr)

"""What is measured: somebody who serves the rows from processes of its own, and its client."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from bench.store_bench.questions import RowFile
from bench.store_bench.round import Round


class NotHere(Exception):
    """A subject cannot run on this machine; the message says what it needs."""


class Subject(Protocol):
    """Lives in a process of its own, from which it is pinned, asked and measured; called in this order."""

    name: str
    notes: str
    """What a reader of its figures should know."""

    def start_server(self, file: RowFile, directory: Path) -> list[int]:
        """Serve the rows; `directory` is its own. Returns the server's process ids, none if there is no server.

        Raises NotHere.
        """
        ...

    def connect(self) -> None:
        """Open what the client keeps open."""
        ...

    def run(self, round_: Round) -> None:
        """Do the fetches of all lanes of `round_`, each lane one after another, all lanes at the same time."""
        ...

    def stop(self) -> None:
        """Close the client and end the server, also when they were never started."""
        ...

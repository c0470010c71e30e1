"""A load client in a process of its own, as the scenarios see it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from chaos.fetches import Asked, Fetch
from chaos.load_client import LoadSettings

_CLIENT = Path(__file__).with_name("load_client.py")
_STOP_SECONDS = 60.0


class Load:
    """Runs until `finish`. Whoever waits for it is kept from waiting for ever by the time limits of its fetches."""

    def __init__(self, settings: LoadSettings, prefix: Sequence[str] = ()) -> None:
        self.fetches: list[Fetch] = []
        """All that have been told of, in the order in which they ended."""
        self.lately_asked: dict[str, int] = {}
        """How often each node was asked, by its address, while it last went on."""
        self._rate = settings.fetches_a_second
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(_CLIENT), json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def go_on(self, seconds: float) -> None:
        """Return when the fetches that are due in so many seconds from now have all ended, in whatever way."""
        self.process.stdin.write(f"{max(1, round(seconds * self._rate))}\n")
        self._hear(self.process.stdout.readline())

    def busiest(self, addresses: Sequence[str]) -> int:
        """Return which of the nodes was asked most while this last went on: the one whose loss is felt."""
        return max(range(len(addresses)), key=lambda number: self.lately_asked.get(addresses[number], 0))

    def finish(self) -> Asked:
        """Let it end what is under way; returns how often nodes were asked."""
        told, _ = self.process.communicate(timeout=_STOP_SECONDS)
        fetches, asked = told.splitlines()
        self._hear(fetches)
        return Asked(**json.loads(asked))

    def _hear(self, line: str) -> None:
        if not line:
            raise AssertionError("the load client has ended; its own words are above")
        fetches, self.lately_asked = json.loads(line)
        self.fetches += [Fetch(*fetch) for fetch in fetches]


@contextlib.contextmanager
def load(settings: LoadSettings, prefix: Sequence[str] = ()) -> Iterator[Load]:
    """Run a load as long as the block lasts; it may have finished before."""
    running = Load(settings, prefix)
    with running.process:
        try:
            yield running
        finally:
            running.process.kill()

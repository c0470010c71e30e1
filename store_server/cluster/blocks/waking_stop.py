"""An event that, once set, also wakes whoever waits for a source: so a stop is not held up by a silent host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store_server.cluster.blocks.block_source import BlockSource


class WakingStop(threading.Event):
    """For any threads."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[BlockSource] = []
        self._changing = threading.Lock()

    def set(self) -> None:
        """Tell everybody to stop, and wake those who wait."""
        super().set()
        with self._changing:
            opened = list(self._open)
        for each in opened:
            each.interrupt()

    @contextmanager
    def wakes(self, source: BlockSource) -> Iterator[BlockSource]:
        """Have who waits for `source` within the block woken when the event is set; close it at the end."""
        with self._changing:
            self._open.append(source)
        try:
            if self.is_set():  # too late for `set` to have seen it
                source.interrupt()
            yield source
        finally:
            with self._changing:
                self._open.remove(source)
            source.close()

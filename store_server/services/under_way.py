"""The calls that a stop waits for."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class CallsUnderWay:
    """Counts calls between their beginning and their end. Belongs to the event loop."""

    def __init__(self) -> None:
        self.number = 0
        """How many are under way."""
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a call as long as the block lasts."""
        self.number += 1
        self._none.clear()
        try:
            yield
        finally:
            self.number -= 1
            if self.number == 0:
                self._none.set()

    async def ended(self) -> None:
        """Wait until no call is under way."""
        await self._none.wait()

"""A transport whose replies come late, in any order, in parts or never; it writes only while its fetch lives."""

from __future__ import annotations

import asyncio
import random

import numpy as np
from numpy.typing import NDArray

from engram_client import TableInfo
from engram_client.errors import ProtocolError, TimeLimitExceeded

MOST_HELD = 6


class UnrulyTransport:
    """Rows in arrays, by table name. Every fetch lets go of some that were held; those held too long never come."""

    def __init__(self, infos: dict[str, TableInfo], rows: dict[str, NDArray[np.uint8]], seed: int) -> None:
        self._infos = infos
        self._rows = rows
        self._random = random.Random(seed)
        self._held: list[asyncio.Future[str]] = []
        self.ended = {"ok": 0, "fail": 0, "cancelled": 0, "late": 0}

    async def get_table(self, name: str, _version: str, _timeout: float) -> TableInfo:
        return self._infos[name]

    async def fetch(self, table: TableInfo, rows: NDArray[np.int64], out: NDArray[np.uint8], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                half = len(rows) // 2
                out[:half] = self._rows[table.name][rows[:half]]
                outcome = await self._turn()
                if outcome == "fail":
                    raise ProtocolError("made up")
                out[half:] = self._rows[table.name][rows[half:]]
                self.ended["ok"] += 1
        except asyncio.CancelledError:
            out[...] = 255  # as long as it has not ended, it may write anything
            self.ended["cancelled"] += 1
            raise
        except TimeoutError as error:
            self.ended["late"] += 1
            raise TimeLimitExceeded("made up") from error

    async def close(self) -> None:
        pass

    async def _turn(self) -> str:
        """Wait until another fetch, or chance, says go on."""
        mine: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._held.append(mine)
        self._random.shuffle(self._held)
        for _ in range(self._random.randint(0, 3) if len(self._held) < MOST_HELD else 2):
            if self._held and not (held := self._held.pop()).done():
                held.set_result(self._random.choices(["ok", "fail"], [20, 1])[0])
                self.ended["fail"] += held.result() == "fail"
        return await mine

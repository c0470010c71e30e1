"""Versions of a set of two tables whose rows say which version they are of, and who reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support.tables import write_table

import engram_client

# There are as many blocks as rows.
ROW_BYTES, NUM_ROWS = 1 << 20, 4
NUM_TABLES = 2
SECONDS = 60


def rows_of(table_number: int, version_number: int, row_bytes: int = ROW_BYTES) -> np.ndarray:
    rows = np.zeros((NUM_ROWS, row_bytes), np.uint8)
    rows[:, 0], rows[:, 1], rows[:, 2] = table_number, version_number, np.arange(NUM_ROWS)
    return rows


def write_versions(root: Path, prefix: str, number: int) -> dict[str, str]:
    """Make version `number` of the tables 1 and 2 current in a data root; returns versions by table."""
    return {
        name: write_table(root, name, rows_of(table, number))
        for table, name in ((1, f"{prefix}/1"), (2, f"{prefix}/2"))
    }


async def number_read(tables: engram_client.TableSet, ids: Sequence[int] = range(NUM_ROWS)) -> int:
    """Read rows of all tables of a set, by default every one; returns the version that all of them are of."""
    fetched = {name: await tables[name].fetch(np.array(ids)) for name in tables}
    numbers = {int(number) for rows in fetched.values() for number in rows[:, 1]}
    assert len(numbers) == 1, f"two versions together: {numbers}"
    (number,) = numbers
    for name, rows in fetched.items():
        assert rows[:, :3].tolist() == [[int(name[-1]), number, row] for row in ids]
    return number


async def opened(store: engram_client.Store, set_name: str) -> engram_client.TableSet:
    """Open a set that was just published: nodes hear of it one after the other."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(engram_client.TableSetNotFound):
                return await store.table_set(set_name)
            await asyncio.sleep(0.01)


async def reads(url: str, set_name: str, *awaited: int) -> int:
    """Open a set and read it until it has one of the versions `awaited`; returns which."""
    async with engram_client.connect(url, timeout=SECONDS) as store, asyncio.timeout(SECONDS):
        tables = await opened(store, set_name)
        while (number := await number_read(tables)) not in awaited:
            await asyncio.sleep(0.01)
            await tables.refresh()
        return number

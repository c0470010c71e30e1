"""Rows as a client gets them: one of each table, right ones if a data root is at hand, and how many a second."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.commands.doctor.calls import call_failed
from store_server.commands.doctor.finding import fail, ok, unknown, warn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from engram_client.store import Store
    from engram_client.table import Table
    from engram_client.table_info import TableInfo
    from store_server.commands.doctor.finding import Finding

_MOST_TABLES: Final = 64
_PROBE_SECONDS: Final = 1.0
_PROBE_BYTES: Final = 256 << 20
_PROBE_ROWS: Final = 4096
_PROBES_AT_ONCE: Final = 4


async def check_rows(store: Store, root: str | None, seconds: float) -> AsyncIterator[Finding]:
    """Yield what became of one row of each table, and of a short load on the largest that gives rows.

    `root` is the file:/// URL of a data root that has the rows, too.
    """
    from engram_client.errors import EngramError

    try:
        infos = await store.tables(timeout=seconds)
    except EngramError as error:
        yield call_failed("rows", "all tables", error)
        return
    for finding in judge_limits(infos):
        yield finding
    opened: list[Table] = []
    for info in infos[:_MOST_TABLES]:
        try:
            table = await store.table(info.name, timeout=seconds)
            yield await _check_row(table, root, seconds)
            opened.append(table)
        except EngramError as error:
            yield call_failed("row", info.name, error)
    if len(infos) > _MOST_TABLES:
        yield unknown("row", f"{len(infos) - _MOST_TABLES} more tables", f"not read: {_MOST_TABLES} are enough")
    if found := [table for table in opened if table.num_rows]:
        yield await _probe(max(found, key=lambda table: table.num_rows * table.row_bytes), seconds)


def judge_limits(infos: Sequence[TableInfo]) -> Iterator[Finding]:
    """Yield whether a reply that a node may send is one that this client takes."""
    from engram_client.grpc_channel import CHANNEL_OPTIONS

    taken = dict(CHANNEL_OPTIONS)["grpc.max_receive_message_length"]
    for info in infos:
        largest = info.max_rows_per_lookup * info.row_bytes
        if largest > taken:
            change = "lower the node's limit on rows a lookup (--max-rows)"
            yield fail("limits", info.name, f"replies may have {largest:,} bytes, a client takes {taken:,}", change)
    if infos:
        rows = min(info.max_rows_per_lookup for info in infos)
        yield ok("limits", "all tables", f"at least {rows:,} rows a lookup, replies of at most {taken:,} bytes")


async def _check_row(table: Table, root: str | None, seconds: float) -> Finding:
    if not table.num_rows:
        return ok("row", table.name, "the table is empty")
    number = random.randrange(table.num_rows)  # noqa: S311  # nothing secret
    row = await table.fetch([number], timeout=seconds)
    found = f"row {number:,} of {table.num_rows:,}, version {table.version}"
    if root is None:
        return ok("row", table.name, found)
    expected = await _row_of_root(root, table, number, seconds)
    if isinstance(expected, str):
        return unknown("row", table.name, f"{found}, not compared: {expected}")
    if np.array_equal(row[0], expected):
        return ok("row", table.name, f"{found}, as in {root}")
    change = "take the node out of service, and run `engram-store verify` on its root and on this one"
    return fail("row", table.name, f"{found}, is ANOTHER than in {root}", change)


async def _row_of_root(root: str, table: Table, number: int, seconds: float) -> np.ndarray | str:
    """Return the row as a data root has it, or why it cannot be read there."""
    import engram_client

    try:
        async with engram_client.connect(root, timeout=seconds) as store:
            there = await store.table(table.name, table.version)
            found: np.ndarray = (await there.fetch([number]))[0]
            return found
    except engram_client.EngramError as error:
        return str(error)


async def _probe(table: Table, seconds: float) -> Finding:
    """Fetch rows for a second at most, and no more than the bound."""
    from engram_client.errors import EngramError

    size = min(_PROBE_ROWS, max(1, _PROBE_BYTES // 64 // table.row_bytes))
    most_fetches = max(1, _PROBE_BYTES // (size * table.row_bytes))
    began, num_fetches = time.monotonic(), 0

    async def fetch_on() -> None:
        nonlocal num_fetches
        while num_fetches < most_fetches and time.monotonic() - began < _PROBE_SECONDS:
            num_fetches += 1
            await table.fetch(np.random.default_rng().integers(table.num_rows, size=size), timeout=seconds)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_PROBES_AT_ONCE):
                group.create_task(fetch_on())
    except* EngramError as errors:
        finding = call_failed("throughput", table.name, errors.exceptions[0])
    else:
        took = max(time.monotonic() - began, 1e-9)
        finding = judge_throughput(table.name, num_fetches * size, table.row_bytes, took)
    return finding


def judge_throughput(name: str, num_rows: int, row_bytes: int, seconds: float) -> Finding:
    """Return how many rows a second came in a short trial; what is little depends on the model."""
    found = (
        f"{num_rows / seconds:,.0f} rows/s, {num_rows * row_bytes / seconds / 1e6:,.1f} MB/s in {seconds:.1f} s, "
        f"{_PROBES_AT_ONCE} fetches at a time; `engram-store load` measures it well"
    )
    if seconds > 2 * _PROBE_SECONDS:
        change = "see the node's load, and whether its rows come from a slow disk"
        return warn("throughput", name, found, change)
    return ok("throughput", name, found)

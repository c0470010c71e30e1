"""From what the user asked for to a job: find the table, see what its rows can be checked with, choose the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.failure import CommandFailed
from store_server.commands.load.checks import Check, row_check
from store_server.commands.load.job import Job
from store_server.commands.load.row_choice import UniformChoice, ZipfChoice
from store_server.commands.load.text_replay import Replay, load_vocabulary, text_choice
from store_server.storage.fills import index_rows

if TYPE_CHECKING:
    from pathlib import Path

    from engram_client import BlockingStore, BlockingTable, TableInfo
    from store_server.commands.load.row_choice import RowChoice

_PROBED_ROWS: Final = 256
MAX_BUFFER_BYTES: Final = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for. `check` None leaves it to what the table holds; rows are alike unless told otherwise."""

    url: str
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)
    table: str | None
    rows_per_fetch: int
    max_in_flight: int
    processes: int
    timeout_seconds: float
    seed: int
    zipf: float | None
    replay: Replay | None
    check: Check | None
    root: Path | None


def prepare_job(request: Request) -> Job:
    """Open the table once to see what there is; raises CommandFailed."""
    from engram_client import EngramError, connect_blocking

    how = request.connection.for_connect()
    try:
        with connect_blocking(request.url, timeout=request.timeout_seconds, **how) as store:
            table = store.table(request.table or _only_table(store))
            _require_memory(request, table.info)
            check = _check_for(request, table)
            choice = _choice(request, table.info)
    except (EngramError, ValueError) as error:
        raise CommandFailed(str(error)) from error
    return Job(
        url=request.url,
        connection=request.connection,
        table=table.name,
        version=table.version,
        num_rows=table.num_rows,
        row_bytes=table.row_bytes,
        choice=choice,
        check=check,
        root=request.root,
        rows_per_fetch=request.rows_per_fetch,
        max_in_flight=request.max_in_flight,
        processes=request.processes,
        timeout_seconds=request.timeout_seconds,
        seed=request.seed,
    )


def _only_table(store: BlockingStore) -> str:
    names = [info.name for info in store.tables()]
    if len(names) != 1:
        found = f"there are {len(names)}: {', '.join(names[:10])}" if names else "there is none"
        raise CommandFailed(f"name a table with --table, {found}")
    return names[0]


def _require_memory(request: Request, table: TableInfo) -> None:
    needed = request.max_in_flight * request.rows_per_fetch * table.row_bytes
    if needed > MAX_BUFFER_BYTES:
        raise CommandFailed(
            f"{request.max_in_flight:,} fetches of {request.rows_per_fetch:,} rows of {table.row_bytes:,} bytes need "
            f"{needed / 2**30:.1f} GiB of buffers, at most {MAX_BUFFER_BYTES >> 30} GiB are taken; fewer --rows, "
            "--max-in-flight or --concurrency need less"
        )


def _check_for(request: Request, table: BlockingTable) -> Check:
    if request.check is None and request.root is None:
        return _check_that_fits(table)
    check = request.check or Check.root
    # Opened here as well, so that a copy that does not fit is an error before any process is started.
    with row_check(check, row_bytes=table.row_bytes, root=request.root, table=table.name, version=table.version):
        return check


def _check_that_fits(table: BlockingTable) -> Check:
    """Look at some rows: are they those of `create --fill index`?"""
    generator = np.random.default_rng(0)
    ids = np.unique(np.append(generator.integers(0, table.num_rows, _PROBED_ROWS), [0, table.num_rows - 1]))
    fits = (table.fetch(ids) == index_rows(ids, table.row_bytes)).all(axis=1)
    if fits.all():
        return Check.index
    if fits.any() and table.row_bytes >= 8:  # narrower ones agree by chance
        raise CommandFailed(
            f"of {len(ids)} rows of table {table.name!r} {np.count_nonzero(fits)} follow the formula of `create --fill "
            f"index` and {np.count_nonzero(~fits)} do not, the first is row {ids[~fits][0]}: WRONG ROWS, or rows of "
            "another origin; say which with --check index or --check repeats"
        )
    return Check.repeats


def _choice(request: Request, table: TableInfo) -> RowChoice:
    if request.replay is not None:
        return text_choice(request.replay, table, load_vocabulary())
    return UniformChoice() if request.zipf is None else ZipfChoice(request.zipf)

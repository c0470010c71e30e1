"""`engram-store load`: put a store under load, and say what it bore and whether the rows were right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.failure import CommandFailed
from store_server.commands.interruption import NothingMeasured
from store_server.commands.load import options as given
from store_server.commands.load import usage
from store_server.commands.load.arrivals import Spacing
from store_server.commands.load.find_rate import find_rate
from store_server.commands.load.job import Run
from store_server.commands.load.prepare import Request, prepare_job
from store_server.commands.load.report import search_summary, summary
from store_server.commands.load.runner import Runner
from store_server.commands.load.text_replay import Replay
from store_server.commands.option_groups import takes_groups

if TYPE_CHECKING:
    from store_server.commands.load.job import Job
    from store_server.commands.load.result import Measured

DEFAULT_RATE: Final = 100.0
DEFAULT_IN_FLIGHT: Final = 64
DEFAULT_TOLERANCE: Final = 0.05


@takes_groups
def load(
    context: typer.Context,  # noqa: ARG001  # of which groups of options are made
    *,
    url: given.Url,
    table: given.TableOption = None,
    rate: given.RateOption = None,
    concurrency: given.ConcurrencyOption = None,
    search: given.FindRateOption = False,
    p99: given.P99Option = None,
    tolerance: given.ToleranceOption = None,
    arrivals: given.ArrivalsOption = Spacing.poisson,
    burst: given.BurstOption = 1,
    max_in_flight: given.MaxInFlightOption = None,
    processes: given.ProcessesOption = 1,
    rows: given.RowsOption = 1024,
    zipf: given.ZipfOption = None,
    text: given.TextOption = None,
    tokens: given.TokensOption = 200_000,
    checkpoint: given.CheckpointOption = None,
    vocab_size: given.VocabSizeOption = None,
    layer: given.LayerOption = None,
    fold: given.FoldOption = False,
    seed: given.SeedOption = 0,
    warm_up: given.WarmUpOption = given.WARM_UP,
    duration: given.DurationOption = given.DURATION,
    timeout: given.TimeoutOption = given.TIMEOUT,
    check: given.CheckOption = None,
    root: given.RootOption = None,
    json_file: given.JsonOption = None,
    connection: ConnectionOptions,
) -> None:
    """Put a store under load: how many rows a second, how late, and are they right?

    \b
    engram-store load grpc://127.0.0.1:50051 --rate 500/s --rows 1024
    engram-store load grpc://127.0.0.1:50051 --concurrency 8 --rows 4096 --zipf 1.1
    engram-store load grpc://127.0.0.1:50051 --find-rate --p99 5ms --duration 5s
    engram-store load grpc://127.0.0.1:50051 --text book.txt --vocab-size 16000 --json -

    In an open loop latency is counted from the moment a fetch was due, so that a server that stalls is charged for
    all that had to wait. Fetches that fail count with the time they took. Rows are checked in the warm-up, too; a wrong
    one makes the exit status 1. Ctrl-C prints what was measured so far, if anything was. A TIME is such as 250us, 5ms,
    10s or 2min.
    """  # noqa: D301  # \b tells click to leave the lines alone
    in_flight = concurrency or max_in_flight or DEFAULT_IN_FLIGHT
    usage.require_one_pace(
        concurrency=concurrency,
        open_loop_options={
            "--rate": rate is not None,
            "--find-rate": search,
            "--burst": burst > 1,
            "--max-in-flight": max_in_flight is not None,
        },
        processes=processes,
        in_flight=in_flight,
    )
    usage.require_search(search=search, p99=p99, tolerance=tolerance)
    usage.require_one_choice(
        zipf=zipf,
        has_text=bool(text),
        text_options={
            "--checkpoint": checkpoint is not None,
            "--vocab-size": vocab_size is not None,
            "--layer": layer is not None,
            "--fold": fold,
        },
    )
    usage.require_check(check, root)
    usage.require_place_for(json_file)
    replay = Replay(
        files=tuple(text or ()), max_tokens=tokens, checkpoint=checkpoint, vocab_size=vocab_size, layer=layer, fold=fold
    )
    request = Request(
        url=url,
        connection=connection,
        table=table,
        rows_per_fetch=rows,
        max_in_flight=in_flight,
        processes=processes,
        timeout_seconds=timeout,
        seed=seed,
        zipf=zipf,
        replay=replay if text else None,
        check=check,
        root=root,
    )
    run = Run(
        rate=None if concurrency else rate or DEFAULT_RATE,
        spacing=arrivals,
        burst=burst,
        warm_up_seconds=warm_up,
        duration_seconds=duration,
    )
    job = prepare_job(request)
    if p99 is None:
        _run_once(job, run, json_file)
    else:
        _search(job, run, json_file, p99=p99, tolerance=tolerance or DEFAULT_TOLERANCE)


def _run_once(job: Job, run: Run, json_file: Path | None) -> None:
    with Runner(job) as runner:
        measured = runner.measure(run)
    if not measured.ended_in_warm_up:
        _publish(measured.as_json(), summary(measured), json_file)
    _end(measured, _interruption(runner, measured))


def _search(job: Job, run: Run, json_file: Path | None, *, p99: float, tolerance: float) -> None:
    with Runner(job) as runner:
        found = find_rate(runner.measure, run, limit_seconds=p99, tolerance=tolerance)
    if not found.best.ended_in_warm_up:
        _publish(found.as_json(), search_summary(found), json_file)
    _end(found.steps[-1].measured, _interruption(runner, found.best))
    if found.highest_held is None:
        raise CommandFailed(f"no rate was found that keeps within the limit; the last one: {found.steps[-1].broken}")


def _interruption(runner: Runner, shown: Measured) -> BaseException | None:
    """Return what ended the load early; of Ctrl-C that left nothing to show, that it was so."""
    if isinstance(runner.interruption, KeyboardInterrupt) and shown.ended_in_warm_up:
        return NothingMeasured()
    return runner.interruption


def _publish(result: dict[str, Any], text: str, json_file: Path | None) -> None:
    """Write the JSON object where it was asked for, and the text to stdout unless the object is there."""
    line = json.dumps(result)
    if json_file == Path("-"):
        typer.echo(line)
        return
    if json_file is not None:
        json_file.write_text(f"{line}\n", encoding="utf-8")
    typer.echo(text)


def _end(measured: Measured, interruption: BaseException | None) -> None:
    """Raise what makes the exit status tell how the load ended; wrong rows before everything else."""
    tally = measured.tally
    if tally.rows_wrong:
        raise CommandFailed(
            f"WRONG ROWS: {tally.rows_wrong:,} of {tally.rows_checked:,} rows checked, the first is row "
            f"{tally.first_wrong_row} of table {measured.job.table!r}, version {measured.job.version}"
        )
    if interruption is not None:
        raise interruption
    if tally.failed and not tally.completed:
        raise CommandFailed(f"not one of {tally.num_due:,} fetches succeeded: {'; '.join(tally.messages.values())}")

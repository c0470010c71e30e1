"""What people read when a load has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.commands.load.result import PERCENTILES, described_choice
from store_server.commands.load.words import milliseconds

if TYPE_CHECKING:
    from store_server.commands.load.find_rate import FoundRate
    from store_server.commands.load.result import Measured


def summary(measured: Measured) -> str:
    """Return the lines about one run."""
    job, tally = measured.job, measured.tally
    lines = {
        "table": f"{job.table} at {job.url}: {job.num_rows:,} rows of {job.row_bytes:,} bytes",
        "load": _load(measured),
        "rows": _rows(measured),
        "fetches": _fetches(measured),
        "throughput": _throughput(measured),
        "latency": _times(measured),
        "counted from": _counted_from(measured),
        "check": f"{job.check.said}: {tally.rows_checked:,} rows compared, {tally.rows_wrong:,} wrong",
    }
    text = [f"{name:<13} {value}" for name, value in lines.items()]
    return "\n".join([*text, *_warnings(measured)])


def search_summary(found: FoundRate) -> str:
    """Return the lines about a search: the run at the rate that was found, all rates that were tried, the result."""
    limit = milliseconds(found.limit_seconds)
    which = "no rate held; the last run" if found.highest_held is None else "the run at the highest rate that held"
    lines = [f"{which}, {found.best.run.rate:,.1f}/s:", summary(found.best), ""]
    lines += [f"every rate tried, again where it did not hold:\n{'rate':>13} {'p99':>12}"]
    for step, before in zip(found.steps, (None, *found.steps), strict=False):
        rate = "again" if before is not None and before.rate == step.rate else f"{step.rate:,.1f}/s"
        p99 = milliseconds(step.measured.tally.latencies.percentile(99))
        lines.append(f"{rate:>13} {p99:>12}  {step.broken or 'holds'}")
    if found.highest_held is None:
        return "\n".join([*lines, f"no rate keeps p99 within {limit}"])
    above = "higher ones are not tried" if found.lowest_failed is None else f"{found.lowest_failed:,.1f}/s does not"
    held = f"highest rate  {found.highest_held:,.1f}/s keeps p99 within {limit}, {above}"
    return "\n".join([*lines, f"{held}; searched to {found.tolerance:.1%}"])


def _load(measured: Measured) -> str:
    run, job = measured.run, measured.job
    processes = f"{job.processes} process{'es' if job.processes > 1 else ''}"
    if run.rate is None:
        return f"closed loop, {job.max_in_flight:,} always in flight, {processes}"
    bursts = f" in bursts of {run.burst:,}" if run.burst > 1 else ""
    return (
        f"open loop, {run.rate:,.1f} fetches/s due ({run.spacing.value}{bursts}), at most {job.max_in_flight:,} in "
        f"flight, {processes}"
    )


def _rows(measured: Measured) -> str:
    choice = described_choice(measured.job.choice)
    how = {
        "uniform": "every row alike",
        "zipf": f"Zipf, exponent {choice.get('exponent')}",
        "text": f"of {choice.get('tokens', 0):,} tokens of {', '.join(choice.get('files', ()))}"
        + (" (FOLDED: rows modulo the table's size)" if choice.get("folded") else ""),
    }[choice["choice"]]
    return f"{measured.job.rows_per_fetch:,} a fetch, {how}"


def _fetches(measured: Measured) -> str:
    tally = measured.tally
    after = " after the warm-up" if measured.run.warm_up_seconds else ""
    parts = [f"{tally.num_due:,} due in the {tally.measured_seconds:.1f} s{after}"]
    parts += [f"{tally.completed:,} completed", f"{tally.failed.total():,} failed"]
    if tally.never_started:
        parts.append(f"{tally.never_started:,} never started")
    if tally.cut_off:
        parts.append(f"{tally.cut_off:,} cut off")
    return ", ".join(parts)


def _throughput(measured: Measured) -> str:
    fetches = measured.fetches_per_second
    rows = fetches * measured.job.rows_per_fetch
    figures = f"{fetches:,.1f} fetches/s, {rows:,.0f} rows/s, {rows * measured.job.row_bytes / 1e6:,.1f} MB/s"
    tally = measured.tally
    return f"{figures} (of the {tally.completed_in_time:,} completed within those {tally.measured_seconds:.1f} s)"


def _times(measured: Measured) -> str:
    latencies = measured.tally.latencies
    shown = [f"p{percent:g} {milliseconds(latencies.percentile(percent))}" for percent in PERCENTILES[:-1]]
    return ", ".join([*shown, f"longest {milliseconds(latencies.most)}"])


def _counted_from(measured: Measured) -> str:
    late = measured.tally.issued_late
    if measured.run.rate is None:
        return "the end of the lane's last fetch: a closed loop asks less of a slow server"
    return f"the moment a fetch was due; sent late by p50 {milliseconds(late.percentile(50))}, p99 " + milliseconds(
        late.percentile(99)
    )


def _warnings(measured: Measured) -> list[str]:
    tally = measured.tally
    found = [f"error         {n:,} x {kind}, the first: {tally.messages[kind]}" for kind, n in tally.failed.items()]
    if measured.began_behind:
        found.append(
            f"BEHIND        besides, {tally.left_from_warm_up:,} due in the warm-up were completed in this time: "
            f"{measured.fetches_per_second_in_all:,.1f} fetches/s in all"
        )
    if tally.never_started:
        found.append("OVERLOADED    what never started counts with its wait until the end, the least it could be")
    if measured.client_is_busy:
        share = f"{measured.client_cpu_share:.0%}"
        found.append(f"CLIENT BUSY   a client process used {share} of a core: more --processes may show more")
    if measured.interrupted:
        found.append("INTERRUPTED   these are the figures so far")
    return found

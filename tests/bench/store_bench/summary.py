"""From rounds to figures: medians, and ratios to the reference socket round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bench.store_bench.client_process import Measured
from bench.store_bench.measure import Measurements

REFERENCE = "reference socket"
Figures = dict[str, Any]  # what goes into the JSON file, see `figures_of`


def figures_of(found: Measurements, reference: str = REFERENCE) -> list[Figures]:
    """Return one entry for each case and subject.

    Ratios are to the reference's round of the same number: their median, lowest and highest. Times are in
    microseconds, latencies of all rounds together; processor times are without the checks.
    """
    return [
        {
            "subject": name,
            "placement": case.placement.name,
            "ids_per_fetch": case.ids_per_fetch,
            "in_flight": case.in_flight,
            **_figures(rounds, of_case.get(reference, [])),
        }
        for case, of_case in found.rounds.items()
        for name, rounds in of_case.items()
    ]


def _figures(rounds: Sequence[Measured], reference: Sequence[Measured]) -> Figures:
    latencies_us = np.concatenate([one.round.latencies for one in rounds]) * 1e6
    p50, p90, p99 = (float(number) for number in np.percentile(latencies_us, (50, 90, 99)))
    return {
        "rounds": len(rounds),
        "fetches": len(latencies_us),
        "rows_per_second": statistics.median(map(_rate, rounds)),
        "p50_us": p50,
        "p90_us": p90,
        "p99_us": p99,
        "p99_to_p50": p99 / p50,
        "client_cpu_us_per_row": statistics.median(map(_client_cpu, rounds)),
        "server_cpu_us_per_row": statistics.median(map(_server_cpu, rounds)),
        "server_private_mib": max(one.server_private_bytes for one in rounds) / (1 << 20),
        "rate_to_reference": _ratio(_rate, rounds, reference),
        "p50_to_reference": _ratio(_p50, rounds, reference),
    }


def _ratio(
    of: Callable[[Measured], float], rounds: Sequence[Measured], reference: Sequence[Measured]
) -> dict[str, float] | None:
    ratios = [of(one) / of(other) for one, other in zip(rounds, reference, strict=False)]
    if not ratios:
        return None
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def _rate(one: Measured) -> float:
    return one.round.num_rows / one.round.seconds


def _p50(one: Measured) -> float:
    return statistics.median(one.round.latencies)


def _client_cpu(one: Measured) -> float:
    return (one.round.cpu_seconds - one.round.check_cpu_seconds) / one.round.num_rows * 1e6


def _server_cpu(one: Measured) -> float:
    return one.server_cpu_seconds / one.round.num_rows * 1e6


def print_table(figures: Sequence[Figures]) -> None:
    """Print the figures, a block for each placement and case."""
    blocks = dict.fromkeys((one["ids_per_fetch"], one["in_flight"], one["placement"]) for one in figures)
    heading = f"{'':<28} {'M rows/s':>9} {'to reference':>21} {'p50 us':>10} {'to reference':>19}"
    heading += f" {'p99 us':>10} {'client us/row':>13}"
    for block in blocks:
        print("\n{} rows a fetch, {} in flight, cores {}\n{}".format(*block, heading))
        for one in figures:
            if (one["ids_per_fetch"], one["in_flight"], one["placement"]) == block:
                rate, p50 = (_spread(one[name]) for name in ("rate_to_reference", "p50_to_reference"))
                print(
                    f"{one['subject']:<28} {one['rows_per_second'] / 1e6:>9.3f} {rate:>21} {one['p50_us']:>10.0f}"
                    f" {p50:>19} {one['p99_us']:>10.0f} {one['client_cpu_us_per_row']:>13.3f}"
                )


def _spread(ratio: dict[str, float] | None) -> str:
    return f"{ratio['median']:.3g} ({ratio['low']:.2g}..{ratio['high']:.2g})" if ratio else "-"

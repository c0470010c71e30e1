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


_HEADING = ("", "rows/s", "rate to reference", "p50 us", "p50 to reference", "p99 us", "client us/row")


def print_table(figures: Sequence[Figures], left_out: Sequence[Figures] = (), *, reference: str = REFERENCE) -> None:
    """Print the figures, a block for each placement and case, with whom it was left out for, and why."""
    print(f"\nratios are to the {reference}: the median of all rounds, in parentheses the lowest and the highest round")
    for block in dict.fromkeys(map(_case, (*figures, *left_out))):
        print("\n{} rows a fetch, {} in flight, cores {}".format(*block))
        if lines := [_cells(one) for one in figures if _case(one) == block]:
            _print_aligned([_HEADING, *lines])
        for one in left_out:
            if _case(one) == block:
                print(f"left out: {one['subject']}, {one['why']}")


def _case(one: Figures) -> tuple[int, int, str]:
    return one["ids_per_fetch"], one["in_flight"], one["placement"]


def _cells(one: Figures) -> tuple[str, ...]:
    return (
        one["subject"],
        _rows_a_second(one["rows_per_second"]),
        _spread(one["rate_to_reference"]),
        f"{one['p50_us']:.0f}",
        _spread(one["p50_to_reference"]),
        f"{one['p99_us']:.0f}",
        f"{one['client_cpu_us_per_row']:.3f}",
    )


def _print_aligned(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        aligned = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        print("  ".join((f"{name:<{widths[0]}}", *aligned)))


def _rows_a_second(rate: float) -> str:
    return f"{rate / 1e6:.3f} M" if rate >= 1e4 else f"{rate / 1e3:.3f} k"


def _spread(ratio: dict[str, float] | None) -> str:
    return f"{ratio['median']:.3g} ({ratio['low']:.2g}..{ratio['high']:.2g})" if ratio else "-"

"""Draws the figures: rows a second against batch size, and latencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from bench.store_bench.summary import REFERENCE, Figures
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

# Colours that stay apart for colour-blind readers; who shares one differs in its marker and line.
_STYLES = {
    REFERENCE: ("black", "s", "--"),
    "engram-store grpc memory": ("#0072B2", "o", "-"),
    "engram-store grpc mmap": ("#0072B2", "^", ":"),
    "engram-store grpc lmdb": ("#0072B2", "v", "-."),
    "engram-store unix memory": ("#56B4E9", "o", "-"),
    "engram-store unix mmap": ("#56B4E9", "^", ":"),
    "engram-store unix lmdb": ("#56B4E9", "v", "-."),
    "engram-store file mmap": ("#009E73", "^", "-"),
    "engram-store file lmdb": ("#009E73", "v", "-."),
    "EngramDB TCP": ("#D55E00", "D", "-"),
    "Redis MGET": ("#CC79A7", "P", "-"),
    "Mooncake TCP": ("#E69F00", "X", "-"),
}
# One backend a transport is enough to compare with others; all of them are in the JSON file.
_DRAWN = tuple(name for name in _STYLES if not name.endswith(("lmdb", "grpc mmap", "unix mmap")))
_LATENCY_IN_FLIGHT = 1
_STEP_BESIDE = 1.14


def draw(figures: Sequence[Figures], out: Path) -> list[Path]:
    """Write throughput-PLACEMENT.svg and latency-PLACEMENT.svg for each placement measured; returns their paths."""
    written = []
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "engram-store", "font.size": 10}):
        for placement in dict.fromkeys(one["placement"] for one in figures):
            of_placement = [one for one in figures if one["placement"] == placement and one["subject"] in _DRAWN]
            written += _save(_draw_throughput, of_placement, out / f"throughput-{placement}")
            written += _save(_draw_latency, of_placement, out / f"latency-{placement}")
    return written


def _save(drawing: Callable[[Sequence[Figures]], None], figures: Sequence[Figures], path: Path) -> list[Path]:
    drawing(figures)
    paths = [path.with_suffix(suffix) for suffix in (".svg", ".png")]
    for one in paths:
        plt.savefig(one, dpi=110, bbox_inches="tight")
    plt.close()
    return paths


def _draw_throughput(figures: Sequence[Figures]) -> None:
    in_flight = list(dict.fromkeys(one["in_flight"] for one in figures))
    drawing, panels = plt.subplots(1, len(in_flight), figsize=(5.2 * len(in_flight), 4.4), sharey=True, squeeze=False)
    for panel, number in zip(panels[0], in_flight, strict=True):
        for name, of_name in _by_subject(one for one in figures if one["in_flight"] == number):
            colour, marker, line = _STYLES[name]
            rates = [one["rows_per_second"] for one in of_name]
            panel.plot(_batches(of_name), rates, color=colour, marker=marker, linestyle=line, label=name)
        panel.set_title(f"{number} fetch{'es' if number > 1 else ''} in flight")
        _batch_axis(panel, figures)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(_plain))
    panels[0][0].set_ylabel("rows a second (264 bytes each)")
    drawing.suptitle(f"Rows a second from tables in RAM, {_cores(figures)}", y=1.0)
    _legend_beside(drawing, panels[0][-1])


def _draw_latency(figures: Sequence[Figures]) -> None:
    drawing, panel = plt.subplots(figsize=(7.6, 4.6))
    by_subject = _by_subject(one for one in figures if one["in_flight"] == _LATENCY_IN_FLIGHT)
    for number, (name, of_name) in enumerate(by_subject):
        colour, marker, line = _STYLES[name]
        beside = _STEP_BESIDE ** (number - len(by_subject) / 2)  # so that no whisker hides another
        batches = [batch * beside for batch in _batches(of_name)]
        p50 = [one["p50_us"] for one in of_name]
        above = [one["p99_us"] - one["p50_us"] for one in of_name]
        style = {"color": colour, "marker": marker, "linestyle": line, "elinewidth": 1, "capsize": 3}
        panel.errorbar(batches, p50, yerr=([0] * len(above), above), label=name, **style)
    _batch_axis(panel, figures)
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(FuncFormatter(_duration))
    panel.set_ylabel("latency, one fetch at a time")
    panel.set_title(
        f"Rows of 264 bytes from tables in RAM, {_cores(figures)}:\nmedian (marker) to 99th percentile (whisker)"
    )
    _legend_beside(drawing, panel)


def _cores(figures: Sequence[Figures]) -> str:
    """Return where server and client ran, in words."""
    apart = any(one["placement"] == "apart" for one in figures)
    return "server and client on a core each" if apart else "server and client on the same cores"


def _by_subject(figures: Iterable[Figures]) -> list[tuple[str, list[Figures]]]:
    found: dict[str, list[Figures]] = {}
    for one in figures:
        found.setdefault(one["subject"], []).append(one)
    return list(found.items())


def _batches(figures: Sequence[Figures]) -> list[int]:
    return [one["ids_per_fetch"] for one in figures]


def _batch_axis(panel: Axes, figures: Sequence[Figures]) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks(sorted({one["ids_per_fetch"] for one in figures}))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.set_xlabel("rows a fetch")
    panel.grid(visible=True, alpha=0.3)


def _legend_beside(drawing: plt.Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    drawing.legend(handles, labels, loc="center left", bbox_to_anchor=(0.93, 0.5), frameon=False)


def _plain(value: float, _: int) -> str:
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def _duration(microseconds: float, _: int) -> str:
    for limit, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= limit:
            return f"{microseconds / limit:g} {unit}"
    return f"{microseconds:g} µs"

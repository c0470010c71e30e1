"""Draws tokens a second against the round trip that was added, and where hiding ends."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from bench.end_to_end.scene import BY_PROXY, HELD, IN_LAYER, IN_PROCESS, PREFETCHED
from bench.end_to_end.summary import Figures
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

# Label, colour (they stay apart for colour-blind readers), marker, line.
_STYLES = {
    HELD: ("the ideal: rows in memory before the step", "black", "s", "--"),
    IN_PROCESS: ("tables in process", "#009E73", "^", ":"),
    PREFETCHED: ("remote, prefetched", "#0072B2", "o", "-"),
    IN_LAYER: ("remote, fetched in the layer", "#D55E00", "D", "-"),
}
_LINES = {0: "-.", 1: (0, (1, 1))}  # of the limits of hiding, by block
_LIMIT_COLOUR = "#555555"
_EMPTY = "open markers: through the proxy, with nothing added"
_WHISKERS = "whiskers: 95 % interval of paired rounds"
_ROOM_BEHIND = 1.6  # for what is written beside the last limit


def draw(figures: Sequence[Figures], limits: Sequence[Figures], out: Path) -> list[Path]:
    """Write tokens-against-round-trip.svg and .png; returns their paths."""
    tasks = list(dict.fromkeys(one["task"] for one in figures))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "engram-store", "font.size": 10}):
        drawing, panels = plt.subplots(1, len(tasks), figsize=(5.8 * len(tasks), 4.6), squeeze=False)
        for panel, task in zip(panels[0], tasks, strict=True):
            _draw_forms(panel, [one for one in figures if one["task"] == task])
            _draw_limits(panel, [one for one in limits if one["task"] == task])
            panel.set_title(f"{task}, Engram layers at blocks {_blocks(limits, task)}")
        panels[0][0].set_ylabel("tokens a second")
        handles, labels = panels[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3, frameon=False)
        paths = [out / f"tokens-against-round-trip{suffix}" for suffix in (".svg", ".png")]
        for path in paths:
            drawing.savefig(path, dpi=110, bbox_inches="tight")
        plt.close(drawing)
    return paths


def _draw_forms(panel: Axes, figures: Sequence[Figures]) -> None:
    ideal = statistics.median(one["tokens_per_second"] for one in figures if one["form"] == HELD)
    for form, (label, colour, marker, line) in _STYLES.items():
        of_form = sorted((one for one in figures if one["form"] == form), key=lambda one: one["added_ms"])
        style = {"color": colour, "marker": marker, "markersize": 5, "linestyle": line, "capsize": 3}
        delays = [one["added_ms"] for one in of_form]
        panel.errorbar(delays, *_rates(of_form, ideal), label=label, **style)
    for one in figures:
        if one["form"].endswith(BY_PROXY):
            _, colour, marker, _ = _STYLES[one["form"].removesuffix(BY_PROXY)]
            (rate,), _ = _rates([one], ideal)
            panel.plot(0, rate, color=colour, marker=marker, markersize=10, fillstyle="none", linestyle="none")
    panel.plot([], [], color=_LIMIT_COLOUR, marker="o", markersize=10, fillstyle="none", linestyle="none", label=_EMPTY)
    panel.plot([], [], color=_LIMIT_COLOUR, marker="|", markersize=10, linestyle="none", label=_WHISKERS)
    panel.set_xscale("symlog", linthresh=1, linscale=0.5)
    panel.set_xticks(sorted({one["added_ms"] for one in figures}))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.minorticks_off()
    panel.set_ylim(bottom=0)
    panel.set_xlabel("ms added to the round trip (logarithmic from 1 on)")
    panel.grid(visible=True, alpha=0.3)


def _blocks(limits: Sequence[Figures], task: str) -> str:
    return " and ".join(str(one["block"]) for one in limits if one["task"] == task)


def _rates(figures: Sequence[Figures], ideal: float) -> tuple[list[float], list[list[float]]]:
    """Return tokens a second, and how far the interval reaches below and above.

    They are the paired ratios times the ideal's median of all rounds: a machine that was slower for one distance than
    for another bends no line.
    """
    ratios = [one["to_ideal"] for one in figures]
    below = [(one["median"] - one["low"]) * ideal for one in ratios]
    above = [(one["high"] - one["median"]) * ideal for one in ratios]
    return [one["median"] * ideal for one in ratios], [below, above]


def _draw_limits(panel: Axes, limits: Sequence[Figures]) -> None:
    found = [one for one in limits if one["hidden_ms"] is not None]
    for number, one in enumerate(found):
        panel.axvline(one["hidden_ms"], color=_LIMIT_COLOUR, linestyle=_LINES[number % len(_LINES)], linewidth=1.2)
        panel.annotate(
            f"block {one['block']} waits beyond {one['hidden_ms']:.3g} ms",
            (one["hidden_ms"], 0),
            xytext=(3, 5),
            textcoords="offset points",
            rotation="vertical",
            color=_LIMIT_COLOUR,
            fontsize=9,
        )
    if found:
        panel.set_xlim(-0.2, max(panel.get_xlim()[1], *(_ROOM_BEHIND * one["hidden_ms"] for one in found)))

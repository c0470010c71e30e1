"""Holds everything in deploy/ against the tools that will read it, against itself and against the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from check import alerts, chart, compose, dashboard, image, unit, version, yaml_style

CHECKS: Final[dict[str, Callable[[Path], Iterator[str]]]] = {
    "yaml": yaml_style.problems,
    "image": image.problems,
    "compose": compose.problems,
    "unit": unit.problems,
    "chart": chart.problems,
    "alerts": alerts.problems,
    "dashboard": dashboard.problems,
    "version": version.problems,
}
"""Each takes the folder deploy/, and says what is wrong with its part of it."""

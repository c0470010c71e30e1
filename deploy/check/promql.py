"""The metrics that an expression for Prometheus asks for, and those there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPORTED: Final = frozenset(Path(__file__).with_name("exported_metrics.txt").read_text().split())
"""What a node shows, and `up`, which Prometheus adds."""

_NOT_METRICS: Final = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)'
)
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()\b")
_WORDS: Final = {"and", "or", "unless", "bool", "offset"}
_JOB: Final = re.compile(r'job="([^"]*)"')


def metrics_in(expression: str) -> set[str]:
    """Return the names of all metrics in an expression."""
    bare = _NOT_METRICS.sub(" ", expression)
    names = {found[0] for found in _NAME.finditer(bare) if not bare[found.end() :].lstrip().startswith("(")}
    return {name for name in names if name not in _WORDS and not re.fullmatch(r"[0-9].*", name)}


def unknown_in(expression: str, job: str) -> Iterator[str]:
    """Say what an expression asks for that there is not."""
    for name in sorted(metrics_in(expression) - EXPORTED):
        yield f"no node shows a metric {name}"
    for found in set(_JOB.findall(expression)) - {job}:
        yield f'asks for job="{found}", where nodes are scraped as job="{job}"'

"""Whether a command printed what a page shows: `...` stands for what varies, in a line or for lines."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BAR = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"  # of progress, which a terminal draws over


def is_shown(shown: Iterable[str], printed: str) -> bool:
    """Say whether all lines printed are those shown; runs of blanks count as one."""
    lines = [_tight(line) for line in printed.splitlines() if _BAR not in line]
    return (
        re.fullmatch("".join(_line(_tight(line)) for line in shown), "".join(f"{line}\n" for line in lines)) is not None
    )


def _line(shown: str) -> str:
    if shown == "...":
        return r"(?:[^\n]*\n)*?"
    return r"[^\n]*?".join(re.escape(part) for part in shown.split("...")) + r"\n"


def _tight(line: str) -> str:
    return re.sub(r"\s+", " ", line).strip()

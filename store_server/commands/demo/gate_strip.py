"""Gates drawn under their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BLOCKS: Final = "▁▂▃▄▅▆▇█"
ASCII: Final = "_.-=+*%#"
_NUMBER_WIDTH: Final = 3  # .52


def gate_strip(tokens: Sequence[str], gates: Mapping[str, Sequence[float]], *, levels: str, width: int) -> list[str]:
    """Return lines of at most `width` columns: tokens, and for each label a bar and a number under every token.

    Gates lie between 0 and 1; `levels` are characters for equal parts of that range. What does not fit beside the rest
    is folded under it.
    """
    lines: list[str] = []
    label_width = max(map(len, gates))
    for part in _folded([max(len(token), _NUMBER_WIDTH) for token in tokens], width - label_width - 1):
        widths = [max(len(token), _NUMBER_WIDTH) for token in tokens[part]]
        lines.append(_line("", label_width, tokens[part], widths))
        for label, values in gates.items():
            bars = [_level(gate, levels) * columns for gate, columns in zip(values[part], widths, strict=True)]
            lines.append(_line(label, label_width, bars, widths))
            lines.append(_line("", label_width, [_number(gate) for gate in values[part]], widths))
    return lines


def levels_for(encoding: str) -> str:
    """Return eight characters from closed to open that an output of this encoding can show."""
    try:
        BLOCKS.encode(encoding)
    except UnicodeEncodeError:
        return ASCII
    return BLOCKS


def _line(label: str, label_width: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return " ".join([label.ljust(label_width), *padded]).rstrip()


def _level(gate: float, levels: str) -> str:
    return levels[min(int(gate * len(levels)), len(levels) - 1)]


def _number(gate: float) -> str:
    return f"{gate:.2f}".removeprefix("0") if gate < 0.995 else "1.0"


def _folded(widths: Sequence[int], line_width: int) -> Iterator[slice]:
    """Yield parts of neighbouring cells that fit into a line; a cell that is too wide has one for itself."""
    first, used = 0, 0
    for index, width in enumerate(widths):
        if index > first and used + 1 + width > line_width:
            yield slice(first, index)
            first, used = index, 0
        used += width if used == 0 else 1 + width
    yield slice(first, len(widths))

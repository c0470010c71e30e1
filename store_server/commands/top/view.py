"""Shows pictures on stdout: in place on a terminal, one below the other elsewhere, or as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from store_server.commands.top.columns import GAP, failures_of, fitted, node_columns, table_columns, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from store_server.commands.top.columns import Column
    from store_server.commands.top.picture import Picture

_WIDE: Final = 1000  # where lines go into a file, nothing is left out
_WELL: Final = ("ready", "served")


class View:
    """On a terminal what is live has a screen of its own, so that the end leaves the terminal as it was."""

    def __init__(self, *, is_live: bool) -> None:
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
        self._live: Live | None = None
        if is_live and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, screen=True)
        self._is_first = True

    def show(self, picture: Picture) -> None:
        """Show a picture in place of the one before, or below it."""
        found = drawn(picture, self._console.width)
        if self._live is not None:
            self._live.update(found, refresh=True)
            return
        if not self._is_first:
            self._console.print()
        self._is_first = False
        self._console.print(found)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            self._live.update(Text("looking ..."), refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


class JsonLines:
    """Prints each picture as an object on a line of its own."""

    def show(self, picture: Picture) -> None:
        """Print one."""
        sys.stdout.write(f"{json.dumps(_plain(dataclasses.asdict(picture)))}\n")
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


def drawn(picture: Picture, width: int) -> Group:
    """Return a picture for a screen that is so wide."""
    failures = [Text(line, style="red", overflow="ellipsis", no_wrap=True) for line in failures_of(picture)]
    parts = [Text(title_of(picture), overflow="ellipsis", no_wrap=True), _table(node_columns(picture.nodes), width)]
    if picture.tables:
        parts += [Text(""), _table(table_columns(picture.tables), width)]
    return Group(*parts, *([Text(""), *failures] if failures else []))


def _table(columns: Sequence[Column], width: int) -> Any:  # noqa: ANN401
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    shown = fitted(columns, width)
    for column in shown:
        table.add_column(column.head, justify="left" if column.is_text else "right", no_wrap=True, overflow="ellipsis")
    is_well = [state.startswith(_WELL) for state in columns[1].cells]
    for number, cells in enumerate(zip(*(column.cells for column in shown), strict=True)):
        table.add_row(*map(Text, cells), style="" if is_well[number] else "red")
    return table


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value as JSON has it, which knows no infinity."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isinf(value) else value

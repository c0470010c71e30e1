"""What the demo is doing, on stderr: a spinner while a step lasts, a line with its seconds when it is done."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show that `title` is under way; nothing is left on the screen of a step that failed."""
    started = time.perf_counter()
    with Console(stderr=True).status(title, spinner="line"):
        yield
    typer.echo(f"{time.perf_counter() - started:6.1f} s  {title}", err=True)

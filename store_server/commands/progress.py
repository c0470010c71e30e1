"""A progress bar on stderr, with rate and time left."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress_bar_when_it_begins(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that is called with the bytes done so far and all there are: the bar is there from then on."""
    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        shown = 0

        def progress(done: int, num_bytes: int) -> None:
            nonlocal advance, shown
            if advance is None:
                advance = stack.enter_context(progress_bar(title, num_bytes))
            advance(done - shown)
            shown = done

        yield progress


@contextmanager
def progress_bar(title: str, num_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar for work of `num_bytes`; yields a function that is called with the bytes done since the last call.

    None where it is not known how many there are.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),  # in powers of 1000, as the rate beside it
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=num_bytes)
        yield lambda count: progress.advance(task, count)

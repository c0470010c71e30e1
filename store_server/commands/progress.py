"""A progress bar on stderr, with rate and time left."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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

"""Which options of `load` go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from store_server.commands.load.checks import Check

if TYPE_CHECKING:
    from pathlib import Path


def require_one_pace(
    *, concurrency: int | None, open_loop_options: dict[str, bool], processes: int, in_flight: int
) -> None:
    """Refuse a closed loop with options of an open one, and processes that would have nothing to do."""
    for option, is_given in open_loop_options.items():
        if concurrency is not None and is_given:
            raise typer.BadParameter(f"--concurrency {concurrency} is a closed loop, which takes no {option}")
    if processes > in_flight:
        limit = "--max-in-flight" if concurrency is None else "--concurrency"
        raise typer.BadParameter(
            f"--processes {processes} needs at least as many fetches in flight, {limit} {in_flight}"
        )


def require_search(*, search: bool, p99: float | None, tolerance: float | None) -> None:
    """Refuse a search without a limit, and a limit without a search."""
    if search and p99 is None:
        raise typer.BadParameter("--find-rate needs a limit, such as --p99 5ms")
    for option, value in {"--p99": p99, "--tolerance": tolerance}.items():
        if value is not None and not search:
            raise typer.BadParameter(f"{option} is an option of --find-rate")


def require_one_choice(*, zipf: float | None, has_text: bool, text_options: dict[str, bool]) -> None:
    """Refuse two ways of choosing rows at once, and options of a text without one."""
    if zipf is not None and has_text:
        raise typer.BadParameter("--zipf and --text both say which rows to fetch: leave one out")
    for option, is_given in text_options.items():
        if is_given and not has_text:
            raise typer.BadParameter(f"{option} is an option of --text")
    if text_options["--checkpoint"] and text_options["--vocab-size"]:
        raise typer.BadParameter("--checkpoint and --vocab-size both say how to hash: leave one out")


def require_check(check: Check | None, root: Path | None) -> None:
    """Refuse a comparison with a copy that is not named, and a copy that nothing is compared with."""
    if check is Check.root and root is None:
        raise typer.BadParameter("--check root needs the copy, as --root ROOT")
    if check is not None and check is not Check.root and root is not None:
        raise typer.BadParameter(f"--root is the copy for --check root, not for --check {check.value}")


def require_place_for(json_file: Path | None) -> None:
    """Refuse a result file that could not be written, before the load rather than after it."""
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        raise typer.BadParameter(f"--json {json_file}: no file can be written there")

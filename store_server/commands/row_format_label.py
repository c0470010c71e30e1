"""The row format that a table is labelled with: one that clients decode, or a name of the user's own."""

from __future__ import annotations

from typing import Final

import typer

OWN: Final = "x-"
_MAX_CHARACTERS: Final = 200


def check_row_format(row_format: str, row_bytes: int) -> None:
    """Raise typer.BadParameter unless rows of `row_bytes` can have this format.

    "" says nothing, and what begins with "x-" is a format of the user's own, which only the user decodes.
    """
    if row_format.startswith(OWN) or not row_format:
        if len(row_format) > _MAX_CHARACTERS or not row_format.isprintable():
            raise typer.BadParameter(
                f"--row-format must be printable and at most {_MAX_CHARACTERS} characters, got {row_format!r:.100}"
            )
        if row_format == OWN:
            raise typer.BadParameter(f"--row-format {OWN}: a name must follow, as in {OWN}mine")
        return
    from engram_client import formats

    try:
        group_bytes = formats.find_format(row_format).group_bytes
    except ValueError as error:
        raise typer.BadParameter(f"--row-format: {error}; one of your own begins with {OWN}, as {OWN}mine") from error
    if row_bytes % group_bytes:
        raise typer.BadParameter(
            f"--row-format {row_format}: a row is a multiple of {group_bytes} bytes, got rows of {row_bytes:,}"
        )


def is_decodable(row_format: str) -> bool:
    """Tell whether clients decode rows of this format."""
    from engram_client import formats

    try:
        formats.find_format(row_format)
    except ValueError:
        return False
    return True

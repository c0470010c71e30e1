"""`engram-store admin URL ...`: how a node is, and changes of it while it runs."""

from __future__ import annotations

from typing import Annotated

import typer


def admin(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="As for `connect`: grpcs://HOST:PORT, that of --admin-listen if it has one."
        ),
    ],
) -> None:
    """See how a node is, and change it while it runs.

    Changes need the scope `admin`, or `write` for tables (see `engram-store token`). A node without --tokens is changed
    from its own host alone.
    """
    context.obj = url

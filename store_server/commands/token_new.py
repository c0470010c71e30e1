"""`engram-store token new`: let somebody in."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from store_server.access.caller import Scope
from store_server.access.credential_editing import CannotEdit, add_token
from store_server.access.credentials import TokenEntry
from store_server.access.rights import Rights
from store_server.access.token import SecretHash, Token
from store_server.commands.failure import CommandFailed

EXAMPLES: Final = (
    "engram-store token new /etc/engram/tokens.toml --name inference-a --scope read --tables 'v41/*' --expires 90d",
    "engram-store token new /etc/engram/tokens.toml --name memory-1 --scope read --scope replicate --tables '*'",
)
_SPAN: Final = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}

CredentialPath = Annotated[
    Path, typer.Argument(metavar="FILE", show_default=False, help="File of credentials, as `serve --tokens` takes it.")
]


def _span(text: str) -> datetime.timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"must be hours, days or weeks from now, such as 12h, 90d or 4w, got {text!r:.50}")
    return datetime.timedelta(hours=int(found[1]) * _HOURS[found[2]])


def token_new(
    file: CredentialPath,
    name: Annotated[str, typer.Option(help="What logs call the bearer; fair shares are by name.", show_default=False)],
    scope: Annotated[list[Scope], typer.Option(help="What it is for. May be given several times.", show_default=False)],
    tables: Annotated[
        list[str],
        typer.Option(
            metavar="PATTERN",
            show_default=False,
            help="Names of tables, * standing for any characters. May be given several times.",
        ),
    ],
    expires: Annotated[
        datetime.timedelta | None,
        typer.Option(metavar="TIME", parser=_span, help="When it ends, such as 90d from now; by default never."),
    ] = None,
) -> None:
    """Let somebody in by a new token, which is printed this once: the file keeps a hash of it.

    Running nodes know it within a second, on every host that has the file. What the bearer may do is changed by editing
    the file. To replace a token, make another of the same name, hand it out, then revoke the old one.
    """
    token = Token.new()
    entry = TokenEntry(
        id=token.id,
        name=name,
        hash=SecretHash.of(token.secret),
        rights=Rights(tuple(dict.fromkeys(scope)), tuple(tables)),
        expires=None if expires is None else int((datetime.datetime.now(datetime.UTC) + expires).timestamp()),
    )
    try:
        add_token(file, entry)
    except CannotEdit as error:
        raise CommandFailed(str(error)) from error
    typer.echo(token.text())

"""`engram-store token list`: who is let in."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, Final

import typer

from store_server.access.credential_file import CredentialFile
from store_server.access.credentials import InvalidCredentials
from store_server.commands.failure import CommandFailed
from store_server.commands.token_new import CredentialPath
from store_server.logs import log_to_stderr

if TYPE_CHECKING:
    from store_server.access.credentials import AnyEntry

EXAMPLES: Final = ("engram-store token list /etc/engram/tokens.toml",)


def token_list(file: CredentialPath) -> None:
    """Print a line for each that the file lets in: its id, its name, what for, on which tables, and until when."""
    log_to_stderr()  # that the file is open to others, beside results on the other stream
    try:
        entries = CredentialFile(file).first().entries()
    except InvalidCredentials as error:
        raise CommandFailed(str(error)) from error
    for entry in entries:
        scopes, tables = ",".join(entry.rights.scopes), " ".join(entry.rights.tables)
        typer.echo(f"{entry.id}  {entry.name}  {scopes}  {tables}  {_end(entry)}")


def _end(entry: AnyEntry) -> str:
    if entry.expires is None:
        return "never expires"
    end = datetime.datetime.fromtimestamp(entry.expires, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"expired {end}" if entry.expires <= time.time() else f"expires {end}"

"""`engram-store token revoke`: let somebody in no longer."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from store_server.access.credential_editing import CannotEdit, remove_token
from store_server.access.token import Token, is_token_id
from store_server.commands.failure import CommandFailed
from store_server.commands.token_new import CredentialPath

EXAMPLES: Final = ("engram-store token revoke /etc/engram/tokens.toml 3f9a0c1d2e4b",)


def token_revoke(
    file: CredentialPath,
    token_id: Annotated[
        str, typer.Argument(metavar="ID", show_default=False, help="Id of the token, as `token list` shows it.")
    ],
) -> None:
    """Take a token out of the file. Nodes that read it end the open calls of its bearer within five seconds."""
    if not is_token_id(token_id):
        raise CommandFailed(_not_an_id(token_id))
    try:
        entry = remove_token(file, token_id)
    except CannotEdit as error:
        raise CommandFailed(str(error)) from error
    typer.echo(f"revoked  {entry.id}  {entry.name}")


def _not_an_id(given: str) -> str:
    """Say what is wrong, without what was given: that may be a secret."""
    token = Token.parse(given.strip())
    if token is not None:
        return (
            f"that is a whole token, which command lines and their history are no place for; its id is {token.id}: "
            "revoke that, and hand out another"
        )
    return (
        "ID must be the 12 digits of 0-9 and a-f that `engram-store token list` shows; what was given is not repeated"
    )

"""Who may do what on a node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from store_server.access.access_config import AccessConfig
from store_server.access.credential_file import CredentialFile
from store_server.access.credentials import InvalidCredentials
from store_server.commands.option_groups import OptionGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PANEL: Final = "Access"


@dataclass(frozen=True, kw_only=True)
class AccessOptions(OptionGroup):
    """Who may do what on a node."""

    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="Admit only those whom this file names, by tokens (`engram-store token new` writes it) or client "
            "certificates. Read again when it changes; by default anybody is admitted.",
        ),
    ] = None
    allow_source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX",
            rich_help_panel=_PANEL,
            help="What versions may be attached by a call or copied from: file:///DIR, https://HOST/PATH, "
            "grpc://HOST:PORT. May be given several times; by default nodes and publishers of the cluster alone.",
        ),
    ] = None
    audit_log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="Append a line of JSON for each change and each refusal; by default they are in the ordinary log.",
        ),
    ] = None

    admin_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            rich_help_panel=_PANEL,
            help="Take changes (`engram-store admin`) there and not where lookups are; or unix:///PATH. Beyond this "
            "host with --tokens alone. By default they are taken where lookups are.",
        ),
    ] = None

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        access = AccessConfig(
            tokens=self.tokens,
            audit_log=self.audit_log,
            allowed_sources=tuple(self.allow_source or ()),
            admin_listen=self.admin_listen,
        )
        return {"access": access}

    def problems(self) -> Iterator[str]:
        """See OptionGroup."""
        if self.tokens is not None:
            try:
                CredentialFile(self.tokens).first()
            except InvalidCredentials as error:
                yield f"--tokens: {error}"
        if self.audit_log is not None and not self.audit_log.parent.is_dir():
            yield f"--audit-log: {self.audit_log.parent}: no such directory"

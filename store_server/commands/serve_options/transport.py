"""Where a node listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from engram_store.credential_files import CredentialPaths
from store_server.commands.host_checks import unusable
from store_server.commands.option_groups import OptionGroup
from store_server.tls_config import TlsConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_PANEL: Final = "TLS"
_File: TypeAlias = Path | None


@dataclass(frozen=True, kw_only=True)
class TransportOptions(OptionGroup):
    """Where a node listens, and whether with TLS."""

    listen: Annotated[str, typer.Option(help="HOST:PORT to listen on (port 0 picks a free one), or unix:///PATH.")] = (
        "127.0.0.1:50051"
    )

    tls_cert: Annotated[
        _File,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="The node's certificate (PEM), with those between it and its authority: the node speaks TLS, of "
            "version 1.2 at least. These files are read again when they change.",
        ),
    ] = None
    tls_key: Annotated[_File, typer.Option(metavar="FILE", rich_help_panel=_PANEL, help="Key of that certificate.")] = (
        None
    )
    tls_client_ca: Annotated[
        _File,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="Certificates (PEM) of which one must have signed that of each client; clients without are refused.",
        ),
    ] = None
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            rich_help_panel=_PANEL,
            help="Let plain text, and tokens in it, leave this host: for networks in which every host is trusted.",
        ),
    ] = False

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        return {"listen": self.listen, "insecure": self.insecure, "tls": self._tls()}

    def problems(self) -> Iterator[str]:
        """See OptionGroup."""
        yield from unusable(CredentialPaths(ca=self.tls_client_ca, cert=self.tls_cert, key=self.tls_key))

    def _tls(self) -> TlsConfig | None:
        if self.tls_cert is not None and self.tls_key is not None:
            return TlsConfig(cert_file=self.tls_cert, key_file=self.tls_key, client_ca_file=self.tls_client_ca)
        if self.tls_cert is None and self.tls_key is None and self.tls_client_ca is None:
            return None
        raise ValueError("TLS needs a certificate and its key: give --tls-cert and --tls-key")

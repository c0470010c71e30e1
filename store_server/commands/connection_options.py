"""Options of commands that speak to nodes: what they show of themselves, and whom they trust."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from store_server.cluster.node_security import NodeSecurity
from store_server.tls_config import TlsConfig

if TYPE_CHECKING:
    from store_server.cluster.node_channel import NodeChannels

_PANEL: Final = "Connection"
_File: TypeAlias = Path | None


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """By default the environment says these: ENGRAM_TOKEN_FILE, ENGRAM_CA_FILE, and so on."""

    token_file: Annotated[
        _File,
        typer.Option(metavar="FILE", rich_help_panel=_PANEL, help="Holds the token to show; or ENGRAM_TOKEN_FILE."),
    ] = None
    ca_file: Annotated[
        _File,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="Certificates (PEM) of which one must have signed that of the other side; or ENGRAM_CA_FILE.",
        ),
    ] = None
    cert_file: Annotated[
        _File,
        typer.Option(metavar="FILE", rich_help_panel=_PANEL, help="Certificate (PEM) to show; or ENGRAM_CERT_FILE."),
    ] = None
    key_file: Annotated[
        _File,
        typer.Option(metavar="FILE", rich_help_panel=_PANEL, help="Key of that certificate; or ENGRAM_KEY_FILE."),
    ] = None
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            rich_help_panel=_PANEL,
            help="Let plain text, and a token in it, leave this host; or ENGRAM_INSECURE=1.",
        ),
    ] = False

    def for_connect(self) -> dict[str, Any]:
        """Return what engram_client.connect takes, which looks into the environment itself."""
        return {
            "token_file": self.token_file,
            "ca_file": self.ca_file,
            "cert_file": self.cert_file,
            "key_file": self.key_file,
            "insecure": self.insecure,
        }

    def to_nodes(self) -> NodeChannels:
        """Return channels to nodes that are known by their addresses: with TLS if a CA file is given."""
        from store_server.cluster.node_channel import NodeChannels  # brings gRPC, which not every command needs

        found = self._with(os.environ)
        security = NodeSecurity(
            token_file=found.token_file, ca_file=found.ca_file, cert_file=found.cert_file, key_file=found.key_file
        )
        return NodeChannels(security, may_leave_host=found.insecure)

    def for_listening(self) -> tuple[TlsConfig | None, bool]:
        """Return how nodes are let fetch from this command: with which TLS, and whether in plain text from afar.

        With a CA file they must show certificates. Whether in plain text is for --insecure alone to say: the variable
        lets who connects speak so. Raises ValueError.
        """
        found = self._with(os.environ)
        if (found.cert_file is None) != (found.key_file is None):
            raise ValueError("a certificate and its key belong together: give --cert-file and --key-file, or neither")
        if found.cert_file is None or found.key_file is None:
            return None, self.insecure
        tls = TlsConfig(cert_file=found.cert_file, key_file=found.key_file, client_ca_file=found.ca_file)
        return tls, False

    def _with(self, environment: Mapping[str, str]) -> ConnectionOptions:
        """Return these, and what is not given by the environment."""

        def file(given: Path | None, variable: str) -> Path | None:
            found = environment.get(variable)
            return given if given is not None or not found else Path(found)

        return ConnectionOptions(
            token_file=file(self.token_file, "ENGRAM_TOKEN_FILE"),
            ca_file=file(self.ca_file, "ENGRAM_CA_FILE"),
            cert_file=file(self.cert_file, "ENGRAM_CERT_FILE"),
            key_file=file(self.key_file, "ENGRAM_KEY_FILE"),
            insecure=self.insecure or environment.get("ENGRAM_INSECURE", "").lower() in ("1", "true", "yes", "on"),
        )

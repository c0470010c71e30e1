"""What a store shows of itself, whom it trusts, and where it may speak in plain text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

from engram_client.errors import InsecureUrl
from engram_store.credential_files import why_no_token

AnyPath: TypeAlias = str | os.PathLike[str]
_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """One for all connections of a store. Checked on creation; raises ValueError."""

    tls: bool = False
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Holds the token, and is read again when it changes."""
    ca_file: Path | None = None
    """Certificates that those of nodes are to be signed by; None for the authorities that come with gRPC."""
    cert_file: Path | None = None
    """Certificate to show to nodes, in PEM format, with those between it and its authority."""
    key_file: Path | None = None
    insecure: bool = False
    """Whether plain text may leave this host, and with it the token."""

    def __post_init__(self) -> None:
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        if self.token is not None and (reason := why_no_token(self.token)) is not None:
            raise ValueError(f"token cannot be sent: {reason}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        if not self.tls:
            for name in ("ca_file", "cert_file"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} means nothing in plain text: give it with grpcs://HOST:PORT")

    def require_safe(self, address: str) -> None:
        """Raise InsecureUrl if plain text to an address would leave this host, and nobody has allowed that."""
        if not (self.tls or self.insecure or is_of_this_host(address)):
            raise InsecureUrl(
                f"{address} is beyond this host, where plain text and every token in it can be read and changed: use "
                "grpcs://, or allow it with insecure=True (--insecure, ENGRAM_INSECURE=1)"
            )


def security_of(
    environment: Mapping[str, str],
    *,
    tls: bool,
    token: str | None,
    token_file: AnyPath | None,
    ca_file: AnyPath | None,
    cert_file: AnyPath | None,
    key_file: AnyPath | None,
    insecure: bool,
) -> Security:
    """Return what is given, and what is not from the environment; raises ValueError.

    What is in the environment is for whichever store needs it: of certificates one in plain text takes no note.
    """

    def path(given: AnyPath | None, variable: str, *, is_wanted: bool) -> Path | None:
        chosen = given if given is not None else environment.get(variable) if is_wanted else None
        return Path(chosen) if chosen else None

    without_token = token is None and token_file is None
    without_pair = cert_file is None and key_file is None
    return Security(
        tls=tls,
        token=token,
        token_file=path(token_file, "ENGRAM_TOKEN_FILE", is_wanted=without_token),
        ca_file=path(ca_file, "ENGRAM_CA_FILE", is_wanted=tls),
        cert_file=path(cert_file, "ENGRAM_CERT_FILE", is_wanted=tls and without_pair),
        key_file=path(key_file, "ENGRAM_KEY_FILE", is_wanted=tls and without_pair),
        insecure=insecure or _is_yes("ENGRAM_INSECURE", environment.get("ENGRAM_INSECURE", "")),
    )


def is_of_this_host(address: str) -> bool:
    """Tell whether a gRPC target surely leads no further than this host: a loopback address, a Unix socket."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_yes(name: str, text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise ValueError(f"{name} must be 1 or 0, got {text!r:.100}")
    return text.lower() in _YES

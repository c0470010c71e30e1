"""The one place where a port is opened: with TLS, or in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.listen_address import CannotListen

if TYPE_CHECKING:
    import grpc

    from store_server.access.server_credentials import ServerCredentials
    from store_server.listen_address import ListenAddress


def open_port(server: grpc.aio.Server, listen: ListenAddress, credentials: ServerCredentials | None) -> int:
    """Let a server listen, with TLS if there are credentials, and return the port. Raises CannotListen."""
    try:
        if credentials is None:
            return server.add_insecure_port(listen.for_grpc())
        return server.add_secure_port(listen.for_grpc(), credentials.for_grpc())
    except RuntimeError as error:
        raise CannotListen(listen.text, error) from error


def require_safe(listen: ListenAddress, *, is_encrypted: bool, is_allowed: bool, how: str) -> None:
    """See that plain text is spoken on this host alone, unless it is allowed; `how` says how not to. ValueError."""
    if is_encrypted and listen.path:
        raise ValueError(f"{listen.text} is for this host alone and takes no TLS: the mode of its folder guards it")
    if is_encrypted and is_allowed:
        raise ValueError("--insecure allows plain text, and certificates are given for TLS: give one of them")
    if not (is_encrypted or is_allowed or listen.is_of_this_host):
        raise ValueError(
            f"{listen.text} can be reached from other hosts, and everybody between could read and change what is said "
            f"in plain text: {how}, or allow it with --insecure"
        )

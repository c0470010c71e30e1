"""The one place where a node, or a command, opens a channel to a node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc
import structlog

from engram_store.caller_knowledge import KNOWS
from engram_store.credential_files import CredentialFiles, CredentialPaths, CredentialsRefused
from store_server.cluster.node_security import CannotSpeakTo, NodeSecurity
from store_server.listen_address import is_of_this_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Options: TypeAlias = Sequence[tuple[str, int]]

log = structlog.get_logger()
_NO_PROXY: Final = (("grpc.enable_http_proxy", 0),)
Metadata: TypeAlias = tuple[tuple[str, str], ...]


class NodeChannels:
    """Opens channels with what the files of `security` hold then. For any thread; raises CannotSpeakTo.

    Plain text, and the token in it, leaves this host only if it `may_leave_host`.
    """

    def __init__(
        self,
        security: NodeSecurity | None = None,
        *,
        may_leave_host: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.security = security or NodeSecurity()
        self._may_leave_host = may_leave_host
        paths = CredentialPaths(
            token=self.security.token_file,
            ca=self.security.ca_file,
            cert=self.security.cert_file,
            key=self.security.key_file,
        )
        self._files = CredentialFiles(paths, refused=_tell, now=now)

    def open(self, address: str, *, tls: bool, options: Options) -> grpc.Channel:
        """Return a channel for threads."""
        credentials = self._credentials(address, tls=tls)
        if credentials is not None:
            return grpc.secure_channel(address, credentials, options)
        return grpc.insecure_channel(address, _plain(address, options))

    def open_in_loop(self, address: str, *, tls: bool, options: Options) -> grpc.aio.Channel:
        """Return a channel for the running event loop."""
        credentials = self._credentials(address, tls=tls)
        if credentials is not None:
            return grpc.aio.secure_channel(address, credentials, options)
        return grpc.aio.insecure_channel(address, _plain(address, options))

    def metadata(self) -> Metadata:
        """Return what each call bears."""
        try:
            token = self._files.newest().token
        except CredentialsRefused as error:
            raise CannotSpeakTo(str(error)) from error
        return KNOWS if token is None else (*KNOWS, ("authorization", f"Bearer {token}"))

    def _credentials(self, address: str, *, tls: bool) -> grpc.ChannelCredentials | None:
        """Return what TLS needs, None for plain text where that is allowed."""
        if not (tls or self._may_leave_host or is_of_this_host(address)):
            raise CannotSpeakTo(
                f"{address} is beyond this host, where plain text and every token in it can be read and changed: "
                "use TLS (--node-ca, of a command --ca-file), or allow it with --insecure"
            )
        try:
            found = self._files.newest()
        except CredentialsRefused as error:
            raise CannotSpeakTo(str(error)) from error
        return grpc.ssl_channel_credentials(found.ca, found.key, found.cert) if tls else None


def _plain(address: str, options: Options) -> Options:
    # What counts as safe because it stays on this host must not be led out of it.
    return (*options, *_NO_PROXY) if is_of_this_host(address) else options


def _tell(reason: str) -> None:
    log.error("what is shown to other nodes is not read again, what was before is used on", error=reason)

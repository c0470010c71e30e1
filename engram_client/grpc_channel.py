"""The one place where this package opens a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from engram_client.security import is_of_this_host

if TYPE_CHECKING:
    from engram_client.security import Security
    from engram_store.credential_files import Credentials

_LARGEST_REPLY_BYTES: Final = 16 << 20
CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _LARGEST_REPLY_BYTES),
    # A server that comes back should be found within a second or so, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    # In spite of its name: how long a connection may take that is being made. TLS to a far node is three round trips.
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A peer that vanished without a word is noticed by pings while lookups are open.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_NO_PROXY: Final = (("grpc.enable_http_proxy", 0),)


def open_channel(target: str, security: Security, credentials: Credentials) -> grpc.aio.Channel:
    """Return a channel that speaks TLS, or plain text where that is allowed; raises InsecureUrl elsewhere.

    It belongs to the running event loop and connects when it is used.
    """
    security.require_safe(target)
    if security.tls:
        trusted = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.cert)
        return grpc.aio.secure_channel(target, trusted, options=CHANNEL_OPTIONS)
    # What counts as safe because it stays on this host must not be led out of it.
    options = CHANNEL_OPTIONS + _NO_PROXY if is_of_this_host(target) else CHANNEL_OPTIONS
    return grpc.aio.insecure_channel(target, options=options)

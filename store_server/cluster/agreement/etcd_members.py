"""The members of etcd: a channel and a token for each, whose turn it is, and what their refusals mean."""

from __future__ import annotations

from typing import Final

import grpc
from aetcd import rpc

from store_server.cluster.agreement.etcd_access import EtcdAccess, EtcdAway, EtcdRefused
from store_server.cluster.agreement.etcd_url import EtcdUrl
from store_server.cluster.agreement.map_source import MapSourceFailed

_CHANNEL_OPTIONS: Final = (
    # etcd takes pings every five seconds at most. A member that has stopped without closing is noticed by them alone.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # One that comes back is found at once, and not after the two minutes that gRPC would come to wait.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
)
_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_REFUSALS: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
)


class EtcdMembers:
    """One is spoken to at a time, the next when that is away. Belongs to the running event loop."""

    def __init__(self, url: EtcdUrl, access: EtcdAccess, call_seconds: float) -> None:
        self.number = len(url.endpoints)
        self._url = url
        self._access = access
        self._call_seconds = call_seconds
        self._at = 0
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._tokens: dict[str, str] = {}

    @property
    def endpoint(self) -> str:
        """Whose turn it is."""
        return self._url.endpoints[self._at % self.number]

    def move_on_from(self, endpoint: str) -> None:
        """Let it be another's turn, if it is still this one's."""
        if endpoint == self.endpoint:
            self._at += 1

    def channel(self, endpoint: str) -> grpc.aio.Channel:
        """Return the channel to a member, which connects when it is used."""
        if endpoint not in self._channels:
            self._channels[endpoint] = (
                grpc.aio.secure_channel(endpoint, self._access.credentials(), _CHANNEL_OPTIONS)
                if self._url.with_tls
                else grpc.aio.insecure_channel(endpoint, _CHANNEL_OPTIONS)
            )
        return self._channels[endpoint]

    async def token(self, endpoint: str) -> tuple[tuple[str, str], ...]:
        """Return what calls to a member bear as metadata, asking for it if need be. Raises AioRpcError."""
        if self._url.user is None:
            return ()
        if endpoint not in self._tokens:
            request = rpc.AuthenticateRequest(name=self._url.user, password=self._access.password())
            authenticate = rpc.AuthStub(self.channel(endpoint)).Authenticate
            self._tokens[endpoint] = (await authenticate(request, timeout=self._call_seconds)).token
        return (("token", self._tokens[endpoint]),)

    def forget_token(self, endpoint: str) -> bool:
        """Ask for another the next time; returns whether there was one."""
        return self._tokens.pop(endpoint, None) is not None

    def failed(self, error: grpc.aio.AioRpcError, endpoint: str) -> MapSourceFailed:
        """Return the error in our words; who asks next asks another member, if this one is away."""
        if error.code() in _AWAY:
            self.move_on_from(endpoint)
            # Or it has lost its data: etcd lets a call wait until it has stored as much as when it gave the token.
            self.forget_token(endpoint)
            return EtcdAway(f"etcd at {endpoint} does not answer: {error.details()}")
        kind = EtcdRefused if error.code() in _REFUSALS else MapSourceFailed
        return kind(f"etcd at {endpoint}: {error.details()}")

    async def close(self) -> None:
        """Let go of all channels."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

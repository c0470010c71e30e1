"""Calls to etcd that end: with an answer, or within their time with a sentence that says what failed.

The messages and stubs are aetcd's. Its client is not used: it speaks to one member, without TLS, asks for a token once
in its life and waits for ever on a watch that etcd refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import grpc
from aetcd import rpc

from store_server.cluster.etcd_access import EtcdAccess, EtcdAway, EtcdRefused
from store_server.cluster.etcd_url import EtcdUrl
from store_server.cluster.map_source import MapSourceFailed

CALL_SECONDS: Final = 5.0
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
# A member that lost the others ends a watch instead of staying silent.
_REQUIRE_LEADER: Final = (("hasleader", "true"),)
_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_REFUSALS: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
)


class EtcdConnection:
    """Speaks to one member of etcd at a time, to the next when that is away. Belongs to the running event loop."""

    def __init__(self, url: EtcdUrl, access: EtcdAccess, call_seconds: float = CALL_SECONDS) -> None:
        self._url = url
        self._access = access
        self._call_seconds = call_seconds
        self._at = 0
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._tokens: dict[str, str] = {}

    async def range(self, key: bytes, end: bytes = b"") -> Any:  # noqa: ANN401  # aetcd's messages have no types
        """Return the RangeResponse of one key, or of all from `key` to before `end`. Raises MapSourceFailed."""
        return await self._call(lambda channel: rpc.KVStub(channel).Range, rpc.RangeRequest(key=key, range_end=end))

    async def transact(self, compare: Any, success: Any, failure: Any = None) -> Any:  # noqa: ANN401
        """Return the TxnResponse of one comparison and the operation for each outcome. Raises MapSourceFailed."""
        request = rpc.TxnRequest(compare=[compare], success=[success], failure=[] if failure is None else [failure])
        return await self._call(lambda channel: rpc.KVStub(channel).Txn, request)

    async def grant_lease(self, seconds: int) -> int:
        """Return a new lease. Raises MapSourceFailed."""
        response = await self._call(
            lambda channel: rpc.LeaseStub(channel).LeaseGrant, rpc.LeaseGrantRequest(TTL=seconds)
        )
        return int(response.ID)

    async def renew_lease(self, lease: int) -> bool:
        """Keep a lease for another of its times; False if it is over. Raises MapSourceFailed."""
        response = await self._call(_first_answer, rpc.LeaseKeepAliveRequest(ID=lease))
        if response is grpc.aio.EOF:
            raise MapSourceFailed("etcd ended a call without an answer")
        return bool(response.TTL > 0)

    async def revoke_lease(self, lease: int) -> None:
        """Let go of a lease and what stands under it. Raises MapSourceFailed."""
        await self._call(lambda channel: rpc.LeaseStub(channel).LeaseRevoke, rpc.LeaseRevokeRequest(ID=lease))

    async def watch(self, key: bytes, end: bytes, revision: int) -> AsyncGenerator[Any, None]:
        """Yield the events from `revision` on, each answer of etcd a list that is not empty.

        Raises MapSourceFailed when it ends: etcd is away, has forgotten what was since `revision`, or refuses.
        """
        endpoint = self._where()
        request = rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(key=key, range_end=end, start_revision=revision)
        )
        try:
            metadata = (*await self._token(endpoint), *_REQUIRE_LEADER)
            call = rpc.WatchStub(self._channel(endpoint)).Watch(metadata=metadata)
            try:
                response = await self._created(call, request, endpoint)
                while response is not grpc.aio.EOF and not response.canceled:
                    if response.events:
                        yield list(response.events)
                    response = await call.read()
            finally:
                call.cancel()
        except grpc.aio.AioRpcError as error:
            raise self._failed(error, endpoint) from error
        finally:
            self._tokens.pop(endpoint, None)  # it may be why a watch has ended
        raise MapSourceFailed(f"etcd at {endpoint} ended a watch: {_why(response)}")

    async def close(self) -> None:
        """Let go of everything."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    async def _created(self, call: Any, request: object, endpoint: str) -> Any:  # noqa: ANN401
        """Return the first answer to a watch, which says that it was begun."""
        try:
            async with asyncio.timeout(self._call_seconds):
                await call.write(request)
                return await call.read()
        except TimeoutError as error:
            self._move_on_from(endpoint)
            raise EtcdAway(f"etcd at {endpoint} does not answer within {self._call_seconds} s") from error

    async def _call(self, method: Callable[[grpc.aio.Channel], Any], request: object) -> Any:  # noqa: ANN401
        """Return the answer of the first member that gives one."""
        for _ in range(len(self._url.endpoints) - 1):
            try:
                return await self._ask(method, request)
            except EtcdAway:
                continue
        return await self._ask(method, request)

    async def _ask(self, method: Callable[[grpc.aio.Channel], Any], request: object) -> Any:  # noqa: ANN401
        endpoint = self._where()

        async def ask() -> Any:  # noqa: ANN401
            token = await self._token(endpoint)
            return await method(self._channel(endpoint))(request, timeout=self._call_seconds, metadata=token)

        try:
            try:
                return await ask()
            except grpc.aio.AioRpcError as error:
                if not _is_about_token(error) or self._tokens.pop(endpoint, None) is None:
                    raise
            return await ask()
        except grpc.aio.AioRpcError as error:
            raise self._failed(error, endpoint) from error

    async def _token(self, endpoint: str) -> tuple[tuple[str, str], ...]:
        if self._url.user is None:
            return ()
        if endpoint not in self._tokens:
            request = rpc.AuthenticateRequest(name=self._url.user, password=self._access.password())
            authenticate = rpc.AuthStub(self._channel(endpoint)).Authenticate
            self._tokens[endpoint] = (await authenticate(request, timeout=self._call_seconds)).token
        return (("token", self._tokens[endpoint]),)

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        if endpoint not in self._channels:
            self._channels[endpoint] = (
                grpc.aio.secure_channel(endpoint, self._access.credentials(), _CHANNEL_OPTIONS)
                if self._url.with_tls
                else grpc.aio.insecure_channel(endpoint, _CHANNEL_OPTIONS)
            )
        return self._channels[endpoint]

    def _where(self) -> str:
        return self._url.endpoints[self._at % len(self._url.endpoints)]

    def _move_on_from(self, endpoint: str) -> None:
        if endpoint == self._where():
            self._at += 1

    def _failed(self, error: grpc.aio.AioRpcError, endpoint: str) -> MapSourceFailed:
        """Return the error in our words; who asks next asks another member, if this one is away."""
        if error.code() in _AWAY:
            self._move_on_from(endpoint)
            return EtcdAway(f"etcd at {endpoint} does not answer: {error.details()}")
        kind = EtcdRefused if error.code() in _REFUSALS else MapSourceFailed
        return kind(f"etcd at {endpoint}: {error.details()}")


async def _answered_once(call: Any) -> Any:  # noqa: ANN401
    try:
        return await call.read()
    finally:
        call.cancel()


def _first_answer(channel: grpc.aio.Channel) -> Any:  # noqa: ANN401
    """Return a way to ask once where etcd has a stream for it."""
    stream = rpc.LeaseStub(channel).LeaseKeepAlive
    return lambda request, **options: _answered_once(stream(iter([request]), **options))


def prefix_end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin so; the last byte is below 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _is_about_token(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a new token would help: the member has restarted, the token is old, or rights have changed."""
    return error.code() == grpc.StatusCode.UNAUTHENTICATED or "auth store is old" in (error.details() or "")


def _why(response: Any) -> str:  # noqa: ANN401
    if response is grpc.aio.EOF:
        return "without a reason"
    if response.compact_revision:
        return f"what was before revision {response.compact_revision} is forgotten"
    return str(response.cancel_reason)

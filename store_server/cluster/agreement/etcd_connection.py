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

from store_server.cluster.agreement.etcd_access import EtcdAccess, EtcdAway
from store_server.cluster.agreement.etcd_members import EtcdMembers
from store_server.cluster.agreement.etcd_url import EtcdUrl
from store_server.cluster.agreement.map_source import MapSourceFailed

CALL_SECONDS: Final = 5.0
# A member that lost the others ends a watch instead of staying silent.
_REQUIRE_LEADER: Final = (("hasleader", "true"),)


class EtcdConnection:
    """What is asked of etcd, of one member at a time. Belongs to the running event loop."""

    def __init__(self, url: EtcdUrl, access: EtcdAccess, call_seconds: float = CALL_SECONDS) -> None:
        self._members = EtcdMembers(url, access, call_seconds)
        self._call_seconds = call_seconds

    async def range(self, key: bytes, end: bytes = b"") -> Any:  # noqa: ANN401  # aetcd's messages have no types
        """Return the RangeResponse of one key, or of all from `key` to before `end`. Raises MapSourceFailed."""
        return await self._call(lambda channel: rpc.KVStub(channel).Range, rpc.RangeRequest(key=key, range_end=end))

    async def put(self, key: bytes, value: bytes, *, lease: int) -> None:
        """Store a value for as long as a lease lasts. Raises MapSourceFailed."""
        await self._call(lambda channel: rpc.KVStub(channel).Put, rpc.PutRequest(key=key, value=value, lease=lease))

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
        endpoint = self._members.endpoint
        request = rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(key=key, range_end=end, start_revision=revision)
        )
        try:
            metadata = (*await self._members.token(endpoint), *_REQUIRE_LEADER)
            call = rpc.WatchStub(self._members.channel(endpoint)).Watch(metadata=metadata)
            try:
                response = await self._created(call, request, endpoint)
                while response is not grpc.aio.EOF and not response.canceled:
                    if response.events:
                        yield list(response.events)
                    response = await call.read()
            finally:
                call.cancel()
        except grpc.aio.AioRpcError as error:
            raise self._members.failed(error, endpoint) from error
        finally:
            self._members.forget_token(endpoint)  # it may be why a watch has ended
        raise MapSourceFailed(f"etcd at {endpoint} ended a watch: {_why(response)}")

    async def close(self) -> None:
        """Let go of everything."""
        await self._members.close()

    async def _created(self, call: Any, request: object, endpoint: str) -> Any:  # noqa: ANN401
        """Return the first answer to a watch, which says that it was begun."""
        try:
            async with asyncio.timeout(self._call_seconds):
                await call.write(request)
                return await call.read()
        except TimeoutError as error:
            self._members.move_on_from(endpoint)
            raise EtcdAway(f"etcd at {endpoint} does not answer within {self._call_seconds:g} s") from error

    async def _call(self, method: Callable[[grpc.aio.Channel], Any], request: object) -> Any:  # noqa: ANN401
        """Return the answer of the first member that gives one."""
        for _ in range(self._members.number - 1):
            try:
                return await self._ask(method, request)
            except EtcdAway:
                continue
        return await self._ask(method, request)

    async def _ask(self, method: Callable[[grpc.aio.Channel], Any], request: object) -> Any:  # noqa: ANN401
        endpoint = self._members.endpoint

        async def ask() -> Any:  # noqa: ANN401
            token = await self._members.token(endpoint)
            return await method(self._members.channel(endpoint))(request, timeout=self._call_seconds, metadata=token)

        try:
            try:
                return await ask()
            except grpc.aio.AioRpcError as error:
                if not _is_about_token(error) or not self._members.forget_token(endpoint):
                    raise
            return await ask()
        except grpc.aio.AioRpcError as error:
            raise self._members.failed(error, endpoint) from error


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

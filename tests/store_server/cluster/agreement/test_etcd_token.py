"""A token that etcd no longer knows: it may keep a bearer waiting until it has stored as much as when it gave it."""

import asyncio
import contextlib

import grpc
import pytest
from aetcd import rpc

from store_server.cluster.agreement.etcd_access import EtcdAccess, EtcdAway
from store_server.cluster.agreement.etcd_connection import EtcdConnection
from store_server.cluster.agreement.etcd_url import EtcdUrl


class ForgetfulEtcd:
    """Gives tokens "0", "1" and so on; answers bearers of the newest, and nobody else."""

    def __init__(self):
        self.newest = -1
        self.borne = []

    async def authenticate(self, _request, _context):
        self.newest += 1
        return rpc.AuthenticateResponse(token=str(self.newest))

    async def range(self, _request, context):
        self.borne.append(dict(context.invocation_metadata())["token"])
        if self.borne[-1] != str(self.newest):
            await asyncio.Event().wait()
        return rpc.RangeResponse(count=self.newest)

    def lose_data(self):
        self.newest += 1


@contextlib.asynccontextmanager
async def serving(etcd):
    server = grpc.aio.server()
    for service, method, answer, request in (
        ("Auth", "Authenticate", etcd.authenticate, rpc.AuthenticateRequest),
        ("KV", "Range", etcd.range, rpc.RangeRequest),
    ):
        handler = grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda each: each.SerializeToString())
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", {method: handler}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_another_token_is_asked_for_after_a_call_that_was_not_answered(tmp_path):
    (tmp_path / "password").write_text("right")
    etcd = ForgetfulEtcd()
    async with serving(etcd) as endpoint:
        url = EtcdUrl(endpoints=(endpoint,), name="prod", user="root")
        connection = EtcdConnection(url, EtcdAccess(password_file=tmp_path / "password"), call_seconds=0.2)
        try:
            assert (await connection.range(b"key")).count == 0
            etcd.lose_data()
            with pytest.raises(EtcdAway, match="does not answer"):
                await connection.range(b"key")

            assert (await connection.range(b"key")).count == 2
        finally:
            await connection.close()
    assert etcd.borne == ["0", "0", "2"]

"""What gRPC's own tools may ask of a node: which services there are, unless that is off, and, if it is on, channelz."""

from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.credentials import CredentialsOnDisk, bearer
from support.rows import random_rows
from support.tables import write_table
from support.told import told

from store_server.access.access_config import AccessConfig
from store_server.access.caller import Anybody, Scope
from store_server.config import ServerConfig
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.node import running
from store_server.services import channelz
from store_server.services.calls import Calls

CHANNELZ = "grpc.channelz.v1.Channelz"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tools") / "root"
    write_table(root, "t", random_rows(100, 16))
    return root


@asynccontextmanager
async def node_with(root, **settings):
    config = ServerConfig(root=root, listen="127.0.0.1:0", **settings)
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        yield channel


async def services(channel):
    """Return what reflection names."""
    return await told(lambda: services_asked_for_once(channel))


async def services_asked_for_once(channel):
    stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=10)
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    reply = await stream.read()
    if reply is grpc.aio.EOF:
        await stream  # raises what it ended with
    return {service.name for service in reply.list_services_response.service}


async def servers(channel, metadata=()):
    stub = channelz_pb2_grpc.ChannelzStub(channel)
    return (await stub.GetServers(channelz_pb2.GetServersRequest(), metadata=metadata, timeout=10)).server


async def code_of(awaitable):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code()


async def test_a_node_tells_its_services_and_nothing_of_its_connections_by_default(root):
    async with node_with(root) as channel:
        assert "engram_store.v1.LookupService" in await services(channel)
        assert CHANNELZ not in await services(channel)
        assert await code_of(servers(channel)) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_node_without_reflection_tells_no_services(root):
    async with node_with(root, reflection=False) as channel:
        assert await code_of(services(channel)) is grpc.StatusCode.UNIMPLEMENTED


async def sockets(channel):
    """Return the connections of all servers of this process, other tests' too: gRPC tells them in any order."""
    stub = channelz_pb2_grpc.ChannelzStub(channel)
    found = []
    for server in await servers(channel):
        asked = channelz_pb2.GetServerSocketsRequest(server_id=server.ref.server_id)
        for listed in (await stub.GetServerSockets(asked, timeout=10)).socket_ref:
            one = channelz_pb2.GetSocketRequest(socket_id=listed.socket_id)
            found.append((await stub.GetSocket(one, timeout=10)).socket)
    return found


async def test_channelz_shows_a_caller_on_this_host_the_connection_that_it_asks_on(root):
    config = ServerConfig(root=root, listen="127.0.0.1:0", channelz=True)
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        assert CHANNELZ in await services(channel)
        port = int(node.address.rpartition(":")[2])
        shown = [socket for socket in await sockets(channel) if socket.local.tcpip_address.port == port]

    assert len(shown) == 1
    assert shown[0].data.streams_started >= 3


async def test_channelz_is_at_the_address_for_operators_alone_where_there_is_one(root):
    access = AccessConfig(admin_listen="127.0.0.1:0")
    config = ServerConfig(root=root, listen="127.0.0.1:0", channelz=True, access=access)

    async with running(config) as node, grpc.aio.insecure_channel(node.address) as beside_lookups:
        async with grpc.aio.insecure_channel(node.admin_address) as for_operators:
            assert CHANNELZ in await services(for_operators)
            assert await servers(for_operators)
        assert CHANNELZ not in await services(beside_lookups)
        assert await code_of(servers(beside_lookups)) is grpc.StatusCode.UNIMPLEMENTED


async def test_channelz_says_of_what_there_is_not_that_there_is_none(root):
    async with node_with(root, channelz=True) as channel:
        asked = channelz_pb2.GetSocketRequest(socket_id=1 << 60)
        assert await code_of(channelz_pb2_grpc.ChannelzStub(channel).GetSocket(asked)) is grpc.StatusCode.NOT_FOUND


async def test_channelz_is_for_the_scope_admin_alone_where_credentials_say_who_may_what(root, tmp_path):
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    reader, admin = written.add("reader", "read write replicate"), written.add("operator", "admin")

    async with node_with(root, channelz=True, access=AccessConfig(tokens=written.path)) as channel:
        assert await code_of(servers(channel)) is grpc.StatusCode.UNAUTHENTICATED
        assert await code_of(servers(channel, bearer(reader))) is grpc.StatusCode.PERMISSION_DENIED
        assert await servers(channel, bearer(admin))


class From:
    """Lets in anybody, from a peer as gRPC names it."""

    def __init__(self, peer):
        self.peer = peer

    @asynccontextmanager
    async def admitted(self, _):
        yield Anybody(self.peer)

    def denied(self, caller, peer, reason):
        pass


async def test_channelz_of_a_node_that_knows_nobody_is_not_for_callers_elsewhere():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((channelz.handler(Calls(Load(Limits(), 1), From("ipv4:10.1.2.3:4000"))),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await code_of(servers(channel)) is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await server.stop(None)


@pytest.mark.parametrize("peer", ["unix:", "unix:/run/x", "ipv4:127.0.0.1:4000", "ipv6:%5B::1%5D:9"])
def test_anybody_on_this_host_may_do_everything(peer):
    assert [scope for scope in Scope if Anybody(peer).may(scope, "t")] == list(Scope)


@pytest.mark.parametrize("peer", ["ipv4:10.0.0.1:1", "ipv4:1.127.0.1:1", "ipv6:%5B::1:2%5D:9", "ipv6:%5B::%5D:9", ""])
def test_anybody_elsewhere_may_read_and_copy_and_neither_change_nor_administer(peer):
    assert [scope for scope in Scope if Anybody(peer).may(scope, "t")] == [Scope.READ, Scope.REPLICATE]
    assert [scope for scope in Scope if Anybody(peer).may_anywhere(scope)] == [Scope.READ, Scope.REPLICATE]

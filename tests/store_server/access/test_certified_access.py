"""A node that asks for client certificates and nothing else: they count until they end, not at the beginning alone."""

import asyncio
import datetime

import grpc
from support.certificates import make_authority, make_certificate
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2 as pb
from engram_store.v1 import lookup_service_pb2_grpc as stubs
from store_server.config import ServerConfig
from store_server.node import running
from store_server.tls_config import TlsConfig

ROWS = random_rows(100, 64)
EXPIRED = (grpc.StatusCode.UNAUTHENTICATED, "the client certificate of the connection has expired")


def channel_to(node, authority, shown):
    files = (authority.cert, shown.key, shown.cert)
    return grpc.aio.secure_channel(node.address, grpc.ssl_channel_credentials(*(file.read_bytes() for file in files)))


async def ended(call):
    return await call.code(), await call.details()


async def test_a_certificate_that_expires_ends_the_open_stream_of_its_connection_and_no_other(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    authority = make_authority(tmp_path, "authority")
    of_node, lasting = (make_certificate(tmp_path, name, authority) for name in ("node", "lasting"))
    tls = TlsConfig(cert_file=of_node.cert, key_file=of_node.key, client_ca_file=authority.cert)
    config = ServerConfig(root=tmp_path / "root", listen="127.0.0.1:0", tls=tls)

    async with running(config) as node:
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
        ending = make_certificate(tmp_path, "ending", authority, ends=soon)
        async with channel_to(node, authority, ending) as first, channel_to(node, authority, lasting) as second:
            streams = [stubs.LookupServiceStub(channel).LookupStream() for channel in (first, second)]
            for stream in streams:
                await stream.write(pb.LookupStreamRequest(id=1, table="t", rows=[7]))
                assert (await stream.read()).rows == ROWS[7].tobytes()
            async with asyncio.timeout(3 + 5):
                assert await ended(streams[0]) == EXPIRED
            later = stubs.LookupServiceStub(first).Lookup(pb.LookupRequest(table="t", rows=[7]), timeout=5)
            assert await ended(later) == EXPIRED
            await streams[1].write(pb.LookupStreamRequest(id=2, table="t", rows=[8]))
            assert (await streams[1].read()).rows == ROWS[8].tobytes()

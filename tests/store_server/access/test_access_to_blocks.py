"""Whole blocks are for who replicates; and who shows a certificate instead of a token, over TLS."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from support.certificates import make_authority, make_certificate, server_credentials
from support.credentials import CredentialsOnDisk, bearer
from support.parts import manifest_of
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import block_service_pb2 as pb
from engram_store.v1 import block_service_pb2_grpc as stubs
from store_server.access.credential_file import CredentialFile
from store_server.access.identified_access import IdentifiedAccess
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.services.blocks import BlockService
from store_server.services.calls import Calls
from store_server.storage import DataRoot

ROWS = random_rows(240_000, 264)  # more than a connection takes that nobody reads, on a busy machine too
MOST_SECONDS = 5.0


class Taken:
    """An audit log that a test can look into."""

    failures = 0

    def __init__(self) -> None:
        self.events = []

    def record(self, event) -> None:
        self.events.append(event)

    async def calls_ended(self) -> None:
        """Wait until calls of who may no longer call were ended: nobody reads them meanwhile."""
        async with asyncio.timeout(MOST_SECONDS):
            while not any((event.action, event.outcome) == ("calls", "ended") for event in self.events):
                await asyncio.sleep(0.01)


class Clock:
    """Tells a time that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("blocks") / "root"
    for name in ("m/1", "other"):
        write_table(root, name, ROWS)
    return root


@pytest.fixture
def written(tmp_path):
    return CredentialsOnDisk(tmp_path / "tokens.toml")


@pytest.fixture
def taken():
    return Taken()


@contextlib.asynccontextmanager
async def serving(root, written, taken, credentials=None, now=time.time):
    """Hand out blocks to those whom the file names; yields the address."""
    access = IdentifiedAccess(CredentialFile(written.path), taken, now=now)
    server = grpc.aio.server()
    with ThreadPoolExecutor(2) as threads:
        calls = Calls(Load(Limits(), 2), access)
        service = BlockService(DataRoot.open(root), threads, lambda *_: None)
        server.add_generic_rpc_handlers((service.handler(calls),))
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        access.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await access.close()
            await server.stop(None)


def manifest_call(channel, table, root, metadata=()):
    request = pb.GetManifestRequest(table=table, version=manifest_of(root, "m/1").version)
    return stubs.BlockServiceStub(channel).GetManifest(request, metadata=metadata, timeout=MOST_SECONDS)


def read_blocks(channel, table, root, metadata=()):
    manifest = manifest_of(root, "m/1")
    request = pb.ReadBlocksRequest(table=table, version=manifest.version, num_blocks=manifest.num_blocks)
    return stubs.BlockServiceStub(channel).ReadBlocks(request, metadata=metadata)


async def status_of(awaitable) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code(), caught.value.details()


async def first_block(call) -> None:
    async for _ in call:
        return


async def drained(call) -> None:
    async for _ in call:
        pass


async def test_blocks_are_for_who_replicates_alone(root, written, taken):
    client = written.add("client", "read write admin", "*")
    node, part = written.add("node", "replicate", "*"), written.add("part", "replicate", "m/*")
    async with serving(root, written, taken) as address, grpc.aio.insecure_channel(address) as channel:
        denied = await status_of(manifest_call(channel, "m/1", root, bearer(client)))
        forbidden = await status_of(manifest_call(channel, "other", root, bearer(part)))
        missing = await status_of(manifest_call(channel, "gone", root, bearer(part)))
        no_blocks = await status_of(first_block(read_blocks(channel, "other", root, bearer(part))))
        await manifest_call(channel, "other", root, bearer(node))
        await first_block(read_blocks(channel, "m/1", root, bearer(part)))

    assert denied == (
        grpc.StatusCode.PERMISSION_DENIED,
        "client has no right to replicate; whoever runs the node can give it one",
    )
    assert forbidden == no_blocks == (grpc.StatusCode.NOT_FOUND, "no table 'other' on this node")
    assert missing == (grpc.StatusCode.NOT_FOUND, "no table 'gone' on this node")


async def test_a_copy_under_way_ends_with_the_right_to_it(root, written, taken):
    token = written.add("node", "replicate", "*")
    async with serving(root, written, taken) as address, grpc.aio.insecure_channel(address) as channel:
        copying = read_blocks(channel, "m/1", root, bearer(token))
        await first_block(copying)

        written.remove(token)
        await taken.calls_ended()
        status = await status_of(drained(copying))

    assert status == (grpc.StatusCode.UNAUTHENTICATED, "the credential of node was revoked or replaced")


@pytest.fixture
def authority(tmp_path):
    return make_authority(tmp_path, "authority")


@contextlib.asynccontextmanager
async def shown(root, written, taken, authority, certificate, tmp_path, now=time.time):
    """A channel on which a certificate is shown to a server that verifies it."""
    own = make_certificate(tmp_path, "server", authority)
    credentials = grpc.ssl_channel_credentials(
        authority.cert.read_bytes(), certificate.key.read_bytes(), certificate.cert.read_bytes()
    )
    async with (
        serving(root, written, taken, server_credentials(own, clients=authority), now) as address,
        grpc.aio.secure_channel(address, credentials) as channel,
    ):
        yield channel


@pytest.mark.parametrize("how", ["common_name", "dns", "uri", "sha256"])
async def test_a_certificate_is_a_credential(root, written, taken, authority, tmp_path, how):
    certificate = make_certificate(
        tmp_path, "memory-2", authority, hosts=["memory-2.example", "spiffe://prod/memory-2"]
    )
    parsed = x509.load_pem_x509_certificate(certificate.cert.read_bytes())
    values = {
        "common_name": "memory-2",
        "dns": "memory-2.example",
        "uri": "spiffe://prod/memory-2",
        "sha256": parsed.fingerprint(SHA256()).hex(":"),
    }
    async with shown(root, written, taken, authority, certificate, tmp_path) as channel:
        unknown = await status_of(manifest_call(channel, "m/1", root))
        written.add_certificate("node", f'{how} = "{values[how]}"', "replicate")
        async with asyncio.timeout(MOST_SECONDS):
            while await manifest_call(channel, "m/1", root).code() is grpc.StatusCode.UNAUTHENTICATED:
                await asyncio.sleep(0.1)
        await manifest_call(channel, "m/1", root)

    assert unknown == (
        grpc.StatusCode.UNAUTHENTICATED,
        "the client certificate that was shown is not one that counts here: unknown or expired",
    )


async def test_a_certificate_that_expires_ends_what_was_begun_with_it(root, written, taken, authority, tmp_path):
    certificate = make_certificate(tmp_path, "node", authority)
    end = x509.load_pem_x509_certificate(certificate.cert.read_bytes()).not_valid_after_utc.timestamp()
    written.add_certificate("node", 'common_name = "node"', "replicate")
    now = Clock()
    async with shown(root, written, taken, authority, certificate, tmp_path, now) as channel:
        copying = read_blocks(channel, "m/1", root)
        await first_block(copying)
        now.seconds = end
        async with asyncio.timeout(MOST_SECONDS):
            while (later := await status_or_none(manifest_call(channel, "m/1", root))) is None:
                pass
        await taken.calls_ended()
        status = await status_of(drained(copying))

    assert status == later == (grpc.StatusCode.UNAUTHENTICATED, "the client certificate of the connection has expired")


async def status_or_none(call) -> tuple[grpc.StatusCode, str] | None:
    return None if await call.code() is grpc.StatusCode.OK else (await call.code(), await call.details())

"""What callers change of a running node, who may, and what is written down of it."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk, bearer
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import write_shard_map
from engram_store.v1 import admin_service_pb2 as pb
from engram_store.v1 import admin_service_pb2_grpc as stubs
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import lookup_service_pb2_grpc as lookup_stubs
from store_server.access.access_config import AccessConfig
from store_server.cluster.cluster_config import ClusterConfig
from store_server.config import ServerConfig
from store_server.limits.limits import Limits
from store_server.node import running
from store_server.storage import DataRoot, root_writer
from store_server.storage.checkpoint import SyntheticCheckpoint, write_checkpoint
from store_server.tls_config import TlsConfig

ROWS = random_rows(100, 16)
DENIED, MISSING = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND
DEFAULT_LIMITS = Limits()
IMPOSSIBLE = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return tmp_path / "root"


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "models").mkdir()
    write_checkpoint(tmp_path / "models" / "ck", SyntheticCheckpoint(scale=1e-5))
    return tmp_path / "models" / "ck"


@pytest.fixture
def written(tmp_path):
    return CredentialsOnDisk(tmp_path / "tokens.toml")


@asynccontextmanager
async def admin_of(root, *, listen="127.0.0.1:0", insecure=False, limits=DEFAULT_LIMITS, cluster=None, **access):
    """Run a node; gives it and a stub of AdminService where lookups are."""
    given = {"audit_log": root.parent / "audit.log", "allowed_sources": (f"file://{root.parent / 'models'}",)}
    config = ServerConfig(
        root=root,
        listen=listen,
        insecure=insecure,
        limits=limits,
        cluster=cluster,
        reload_seconds=3600,
        access=AccessConfig(**{**given, **access}),
    )
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        yield node, stubs.AdminServiceStub(channel)


async def audited(root, *outcomes):
    """Return the lines of the audit log about changes, once it has those with these outcomes."""
    async with asyncio.timeout(20):
        while True:
            lines = [json.loads(line) for line in (root.parent / "audit.log").read_text().splitlines()]
            found = [line for line in lines if line["action"] in ("drain", "attach", "drop")]
            if [line["outcome"] for line in found] == list(outcomes):
                return found
            await asyncio.sleep(0.01)


async def code_of(call) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


def attach_request(checkpoint, name="v41"):
    return pb.AttachTableRequest(name=name, checkpoint=str(checkpoint))


async def test_a_drained_node_says_so_everywhere_and_answers_whoever_asks_still(root):
    async with admin_of(root) as (node, admin), grpc.aio.insecure_channel(node.address) as channel:
        first = await admin.Drain(pb.DrainRequest())
        again = await admin.Drain(pb.DrainRequest())

        assert (first.was_draining, again.was_draining) == (False, True)
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        reply = await lookup_stubs.LookupServiceStub(channel).Lookup(lookup.LookupRequest(table="t", rows=[7]))
        assert reply.rows == ROWS[7].tobytes()
        status = await admin.GetStatus(pb.GetStatusRequest())
        assert (status.ready, status.draining) == (False, True)
        async with asyncio.timeout(30):
            await node.drain()
    (line, _) = await audited(root, "allowed", "allowed")
    assert (line["action"], line["caller"]) == ("drain", "anybody")
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert line["request_id"]


async def test_an_attached_checkpoint_is_served_when_the_call_returns(root, checkpoint):
    async with admin_of(root) as (_, admin):
        attached = await admin.AttachTable(attach_request(checkpoint))
        again = await admin.AttachTable(attach_request(checkpoint))
        status = await admin.GetStatus(pb.GetStatusRequest())

    versions = {table.name: table.version for table in attached.tables}
    assert list(versions) == ["v41/layer-1", "v41/layer-14"]
    assert all(table.served and not table.unchanged and table.num_rows for table in attached.tables)
    assert all(table.served and table.unchanged for table in again.tables)
    assert attached.unknown_hashing
    assert {table.name: table.version for table in status.tables if table.served}.items() >= versions.items()
    lines = await audited(root, "allowed", "allowed")
    assert (lines[0]["action"], lines[0]["table"], lines[0]["checkpoint"]) == ("attach", "v41", str(checkpoint))


@pytest.mark.parametrize("sources", [(), ("file:///elsewhere",), ("grpc://",)])
async def test_a_checkpoint_in_a_place_that_is_not_allowed_is_not_attached(root, checkpoint, sources):
    async with admin_of(root, allowed_sources=sources) as (_, admin):
        assert await code_of(admin.AttachTable(attach_request(checkpoint))) is DENIED
        assert await code_of(admin.AttachTable(attach_request(checkpoint / "not there"))) is DENIED

    assert DataRoot.open(root).table_names() == ["t"]
    for line in await audited(root, "refused", "refused"):
        assert "--allow-source" in line["reason"]


@pytest.mark.parametrize("what", ["config.json", "model.safetensors.index.json", "tables", "all of it"])
async def test_links_out_of_the_allowed_place_are_not_followed(root, checkpoint, tmp_path, what):
    (tmp_path / "secret").mkdir()
    inside = checkpoint if what == "all of it" else checkpoint / what
    if what == "tables":
        inside = next(checkpoint.glob("*.safetensors"))
    moved = inside.rename(tmp_path / "secret" / inside.name)
    inside.symlink_to(moved)

    async with admin_of(root) as (_, admin):
        assert await code_of(admin.AttachTable(attach_request(checkpoint))) is DENIED

    assert DataRoot.open(root).table_names() == ["t"]


@pytest.mark.parametrize("path", ["models/ck", "", "../models/ck"])
async def test_a_checkpoint_is_named_by_an_absolute_path(root, path):
    async with admin_of(root) as (_, admin):
        with pytest.raises(grpc.aio.AioRpcError, match="absolute path"):
            await admin.AttachTable(attach_request(path))


async def test_a_version_is_dropped_and_let_go_of_when_the_call_returns(root):
    data_root = DataRoot.open(root)
    old = data_root.current_version("t")
    write_table(root, "t", ROWS[::-1].copy())
    new = data_root.current_version("t")
    async with admin_of(root) as (_, admin):
        assert await code_of(admin.DropVersion(pb.DropVersionRequest(table="t", version=new))) is IMPOSSIBLE
        assert (await admin.DropVersion(pb.DropVersionRequest(table="t", version=old))).gone
        assert data_root.versions("t") == [new]
        assert await code_of(admin.DropVersion(pb.DropVersionRequest(table="t", version=old))) is MISSING
        assert (await admin.DropVersion(pb.DropVersionRequest(table="t", whole_table=True))).gone
        assert not (await admin.GetStatus(pb.GetStatusRequest())).tables

    await audited(root, "allowed", "failed", "allowed", "allowed", "failed", "allowed")


async def test_what_the_map_of_a_cluster_says_is_held_is_not_dropped(root, tmp_path):
    (tmp_path / "map.json").write_text(write_shard_map(shard_map_of()))
    in_cluster = ClusterConfig(url=f"file://{tmp_path / 'map.json'}", node_id="a")
    write_table(root, "layer-1", ROWS)
    async with admin_of(root, cluster=in_cluster) as (_, admin):
        assert (await admin.GetStatus(pb.GetStatusRequest())).map_epoch > 0

        with pytest.raises(grpc.aio.AioRpcError, match="unpublish") as caught:
            await admin.DropVersion(pb.DropVersionRequest(table="layer-1", whole_table=True))
        assert (await admin.DropVersion(pb.DropVersionRequest(table="t", whole_table=True))).gone

    assert caught.value.code() is IMPOSSIBLE
    assert DataRoot.open(root).table_names() == ["layer-1"]


@pytest.mark.parametrize("request_", [{"table": "t"}, {"table": "t", "version": "0" * 32, "whole_table": True}])
async def test_what_is_to_be_dropped_is_said_in_one_way(root, request_):
    async with admin_of(root) as (_, admin):
        code = await code_of(admin.DropVersion(pb.DropVersionRequest(**request_)))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert DataRoot.open(root).table_names() == ["t"]


async def test_a_root_that_somebody_writes_to_is_not_waited_for(root, checkpoint):
    async with admin_of(root) as (_, admin):
        with root_writer(root), pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin.AttachTable(attach_request(checkpoint))

    assert caught.value.code() is IMPOSSIBLE
    assert str(root) in caught.value.details()


CHANGES = {
    "drain": lambda admin, metadata, _: admin.Drain(pb.DrainRequest(), metadata=metadata),
    "attach": lambda admin, metadata, ck: admin.AttachTable(attach_request(ck), metadata=metadata),
    "drop": lambda admin, metadata, _: admin.DropVersion(
        pb.DropVersionRequest(table="t", whole_table=True), metadata=metadata
    ),
}


@pytest.mark.parametrize(
    ("scopes", "tables", "refused"),
    [
        ("admin", "*", {}),
        ("write", "*", {"drain": DENIED}),
        ("write", "v41/*", {"drain": DENIED, "drop": MISSING}),
        ("write read", "v41/layer-1", {"drain": DENIED, "attach": DENIED, "drop": MISSING}),
        ("admin", "t", {"drain": DENIED, "attach": DENIED}),
        ("read", "*", {"drain": DENIED, "attach": DENIED, "drop": DENIED}),
        ("replicate", "*", {"drain": DENIED, "attach": DENIED, "drop": MISSING}),
    ],
)
async def test_each_change_takes_its_scope_and_every_outcome_is_written_down(
    root, checkpoint, written, scopes, tables, refused
):
    metadata = (*bearer(written.add("somebody", scopes, tables)), ("x-request-id", "r-1"))
    outcomes = {}
    async with admin_of(root, tokens=written.path) as (_, admin):
        for action, change in CHANGES.items():
            try:
                await change(admin, metadata, checkpoint)
            except grpc.aio.AioRpcError as error:
                outcomes[action] = error.code()

    assert outcomes == refused
    lines = await audited(root, *("refused" if action in refused else "allowed" for action in CHANGES))
    assert {line["caller"] for line in lines} == {"somebody"}
    assert {line["request_id"] for line in lines} == {"r-1"}
    names = DataRoot.open(root).table_names()
    assert ("t" in names, "v41/layer-1" in names) == ("drop" in refused, "attach" not in refused)


async def test_a_table_that_may_not_be_read_is_refused_like_one_that_is_missing(root, written):
    metadata = bearer(written.add("somebody", "write", "v41/*"))
    async with admin_of(root, tokens=written.path) as (_, admin):
        said = []
        for table in ("t", "u"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await admin.DropVersion(pb.DropVersionRequest(table=table, whole_table=True), metadata=metadata)
            said.append((caught.value.code(), caught.value.details()))

    assert said == [(MISSING, "no table 't' on this node"), (MISSING, "no table 'u' on this node")]


def own_address() -> str | None:
    """An address of this host beside loopback, None where there is none; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


@pytest.mark.skipif(own_address() is None, reason="this host has no address beside loopback")
async def test_a_node_that_knows_nobody_is_changed_from_its_own_host_alone(root, checkpoint):
    listen = f"{own_address()}:0"
    async with admin_of(root, listen=listen, insecure=True) as (_, admin):
        codes = [await code_of(change(admin, (), checkpoint)) for change in CHANGES.values()]
        status = await admin.GetStatus(pb.GetStatusRequest())

    assert codes == [DENIED] * 3
    assert not status.draining
    assert DataRoot.open(root).table_names() == ["t"]
    lines = await audited(root, "refused", "refused", "refused")
    assert {line["caller"] for line in lines} == {"anybody elsewhere"}


async def test_why_a_change_is_refused_is_told_in_so_few_words_that_they_arrive(root, written):
    reader = bearer(written.add("reader", "read", "t"))
    async with admin_of(root, tokens=written.path) as (_, admin):
        request = pb.DropVersionRequest(table="x" * 5_000, whole_table=True)
        codes = {await code_of(admin.DropVersion(request, metadata=reader)) for _ in range(30)}

    assert codes == {MISSING}  # between its two limits for what a client takes gRPC throws dice


async def test_changes_are_taken_at_the_address_for_them_alone(root, checkpoint, tmp_path):
    for admin_listen in ("127.0.0.1:0", f"unix://{tmp_path}/admin.sock"):
        async with admin_of(root, admin_listen=admin_listen) as (node, beside_lookups):
            for change in CHANGES.values():
                assert await code_of(change(beside_lookups, (), checkpoint)) is grpc.StatusCode.UNIMPLEMENTED
            assert (await beside_lookups.GetStatus(pb.GetStatusRequest())).ready
            async with grpc.aio.insecure_channel(node.admin_address.replace("unix://", "unix:")) as channel:
                admin = stubs.AdminServiceStub(channel)
                assert (await admin.GetStatus(pb.GetStatusRequest())).listen == node.address
                await admin.Drain(pb.DrainRequest())
                reading = lookup_stubs.LookupServiceStub(channel).Lookup(lookup.LookupRequest(table="t", rows=[1]))
                assert await code_of(reading) is grpc.StatusCode.UNIMPLEMENTED
            assert (await beside_lookups.GetStatus(pb.GetStatusRequest())).draining


async def test_the_address_for_changes_speaks_tls_and_wants_a_certificate_as_that_of_lookups_does(root, tmp_path):
    authority = make_authority(tmp_path, "authority")
    shown, operator = (make_certificate(tmp_path, name, authority) for name in ("node", "operator"))
    tls = TlsConfig(cert_file=shown.cert, key_file=shown.key, client_ca_file=authority.cert)
    config = ServerConfig(root=root, listen="127.0.0.1:0", tls=tls, access=AccessConfig(admin_listen="127.0.0.1:0"))
    known, unknown = (
        grpc.ssl_channel_credentials(authority.cert.read_bytes(), *pair)
        for pair in ((operator.key.read_bytes(), operator.cert.read_bytes()), (None, None))
    )

    async with running(config) as node:
        for credentials in (None, unknown):
            async with channel_to(node.admin_address, credentials) as channel:
                drain = stubs.AdminServiceStub(channel).Drain(pb.DrainRequest(), timeout=10)
                assert await code_of(drain) is grpc.StatusCode.UNAVAILABLE
        async with channel_to(node.admin_address, known) as channel:
            assert not (await stubs.AdminServiceStub(channel).Drain(pb.DrainRequest(), timeout=10)).was_draining


def channel_to(address, credentials):
    return grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)


async def test_a_node_with_as_many_clients_as_it_takes_takes_changes_at_their_own_address(root):
    async with admin_of(root, limits=Limits(max_connections=2), admin_listen="127.0.0.1:0") as (node, first):
        await first.GetStatus(pb.GetStatusRequest())
        async with (
            grpc.aio.insecure_channel(node.address, [("grpc.use_local_subchannel_pool", 1)]) as second,
            grpc.aio.insecure_channel(node.address, [("grpc.use_local_subchannel_pool", 1)]) as third,
            grpc.aio.insecure_channel(node.admin_address) as for_changes,
        ):
            await stubs.AdminServiceStub(second).GetStatus(pb.GetStatusRequest())
            with pytest.raises(grpc.aio.AioRpcError):
                await stubs.AdminServiceStub(third).GetStatus(pb.GetStatusRequest())

            await stubs.AdminServiceStub(for_changes).Drain(pb.DrainRequest())


def config_with(tmp_path, admin_listen, *, tls=None, tokens=None, insecure=False):
    access = AccessConfig(admin_listen=admin_listen, tokens=tokens)
    return ServerConfig(root=tmp_path, access=access, tls=tls, insecure=insecure)


def test_an_address_for_changes_beyond_this_host_takes_tls_and_callers_that_are_known(tmp_path):
    file = tmp_path / "file"
    plain, mutual = (TlsConfig(cert_file=file, key_file=file, client_ca_file=ca) for ca in (None, file))

    for admin_listen in ("127.0.0.1:50050", "[::1]:50050", f"unix://{tmp_path}/admin.sock"):
        assert config_with(tmp_path, admin_listen)
        assert config_with(tmp_path, admin_listen, tls=plain)
    assert config_with(tmp_path, "0.0.0.0:50050", tls=mutual, tokens=file)
    assert config_with(tmp_path, "0.0.0.0:50050", tls=plain, tokens=file)
    assert config_with(tmp_path, "0.0.0.0:50050", insecure=True, tokens=file)
    for tls in (plain, mutual):
        with pytest.raises(ValueError, match="does not know who calls: give --tokens"):
            config_with(tmp_path, "0.0.0.0:50050", tls=tls)
    with pytest.raises(ValueError, match="does not know who calls"):
        config_with(tmp_path, "10.0.0.1:50050", insecure=True)
    with pytest.raises(ValueError, match="plain text"):
        config_with(tmp_path, "0.0.0.0:50050", tokens=file)

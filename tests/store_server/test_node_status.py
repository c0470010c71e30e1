"""What a process of a node says of itself to those who run it."""

import os
import time
from contextlib import asynccontextmanager

import grpc
import pytest
from support.credentials import CredentialsOnDisk, bearer
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import admin_service_pb2 as pb
from engram_store.v1 import admin_service_pb2_grpc as stubs
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import lookup_service_pb2_grpc as lookup_stubs
from store_server.access.access_config import AccessConfig
from store_server.config import ServerConfig
from store_server.limits.limits import Limits
from store_server.node import running
from store_server.storage import DataRoot
from store_server.storage.data_root import PlacedVersion
from store_server.storage.version_quarantine import put_in_quarantine

ROWS = random_rows(100, 16)


@pytest.fixture
def root(tmp_path):
    for name in ("open/a", "open/b", "closed/a"):
        write_table(tmp_path / "root", name, ROWS)
    return tmp_path / "root"


@asynccontextmanager
async def node_with(root, **settings):
    config = ServerConfig(root=root, listen="127.0.0.1:0", **settings)
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        yield node, channel


async def status_of(channel, metadata=()) -> pb.GetStatusResponse:
    return await stubs.AdminServiceStub(channel).GetStatus(pb.GetStatusRequest(), metadata=metadata, timeout=10)


async def test_a_process_tells_when_it_began_what_its_clock_says_and_where_it_listens(root):
    before = time.time_ns()
    async with node_with(root, limits=Limits(max_queued=77)) as (node, channel):
        status = await status_of(channel)

    assert before <= status.started_at_ns <= status.now_ns <= time.time_ns()
    assert status.uptime_seconds == pytest.approx((status.now_ns - status.started_at_ns) / 1e9, abs=0.1)
    assert (status.pid, status.listen) == (os.getpid(), node.address)
    assert (status.ready, status.draining, status.quiet) == (True, False, False)
    assert status.program_version
    assert (status.limits["max-queued"].most, status.limits["max-connections"].taken) == (77, 1)
    assert (status.node_id, status.cluster_id, status.map_epoch, status.HasField("workers")) == ("", "", 0, False)


async def test_tables_are_shown_with_what_lookups_of_them_came_to(root):
    async with node_with(root, in_memory=frozenset({"open/a"})) as (_, channel):
        stub = lookup_stubs.LookupServiceStub(channel)
        await stub.Lookup(lookup.LookupRequest(table="open/a", rows=[3, 3, 5]))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Lookup(lookup.LookupRequest(table="open/a", rows=[100]))
        status = await status_of(channel)

    data_root = DataRoot.open(root)
    version = data_root.current_version("open/a")
    assert [table.name for table in status.tables] == ["closed/a", "open/a", "open/b"]
    table = status.tables[1]
    assert (table.version, table.served, table.backend) == (version, True, "memory")
    assert (table.num_rows, table.num_bytes, table.resident_bytes) == (100, 1600, 1600)
    assert (table.lookups["ram"], table.found_rows, table.found_bytes) == (1, 3, 48)
    assert table.written_at_ns == (data_root.version_path("open/a", version) / "table.json").stat().st_mtime_ns
    assert status.failed == {"ROW_OUT_OF_RANGE": 1}
    times = status.lookup_seconds["ram"]
    assert len(times.cumulative) == len(times.bounds_seconds) + 1
    assert times.cumulative[-1] >= 1


async def test_a_version_in_quarantine_is_named_and_its_table_not_served(root):
    data_root = DataRoot.open(root)
    version = data_root.current_version("open/a")
    put_in_quarantine(data_root, _placed(data_root, "open/a", version), "it ended who read it")

    async with node_with(root) as (_, channel):
        table = (await status_of(channel)).tables[1]

    assert (list(table.quarantined), table.served, table.version, table.num_rows) == ([version], False, version, 0)


def _placed(data_root, table, version):
    return PlacedVersion(table, version, data_root.place(table, version))


async def test_a_process_that_was_told_to_stop_says_so_and_whether_anybody_asks_still(root):
    async with node_with(root) as (node, channel):
        stream = lookup_stubs.LookupServiceStub(channel).LookupStream()
        await stream.write(lookup.LookupStreamRequest(id=1, table="open/a", rows=[1]))
        await stream.read()
        node.announce_drain()
        await stream.write(lookup.LookupStreamRequest(id=2, table="open/a", rows=[1]))
        await stream.read()

        asked = await status_of(channel)
        assert (asked.ready, asked.draining, asked.quiet, asked.streams) == (False, True, False, 1)
        stream.cancel()
        while not (await status_of(channel)).quiet:
            pass


@pytest.mark.parametrize(
    ("scopes", "tables", "shown"),
    [
        ("read", "open/*", ["open/a", "open/b"]),
        ("admin", "*", []),
        ("read admin", "*", ["closed/a", "open/a", "open/b"]),
    ],
)
async def test_a_caller_is_shown_the_tables_that_it_may_read(root, tmp_path, scopes, tables, shown):
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    token = written.add("operator", scopes, tables)
    async with node_with(root, access=AccessConfig(tokens=written.path)) as (_, channel):
        status = await status_of(channel, bearer(token))

    assert [table.name for table in status.tables] == shown


@pytest.mark.parametrize(
    ("scopes", "code"),
    [("write replicate", grpc.StatusCode.PERMISSION_DENIED), (None, grpc.StatusCode.UNAUTHENTICATED)],
)
async def test_who_may_neither_read_nor_administer_is_told_nothing(root, tmp_path, scopes, code):
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    metadata = bearer(written.add("client", scopes)) if scopes else ()
    async with node_with(root, access=AccessConfig(tokens=written.path)) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await status_of(channel, metadata)

    assert refused.value.code() is code

"""What a node answers to a client that is not ours: generated stubs, default limits, garbage."""

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import lookup_service_pb2_grpc as lookup_stubs
from engram_store.v1 import table_service_pb2 as tables
from engram_store.v1 import table_service_pb2_grpc as table_stubs
from store_server.config import ServerConfig
from store_server.node import running

NUM_ROWS = 1000
ROWS = random_rows(NUM_ROWS, 264)
WIDE = random_rows(5, 1 << 20)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("services") / "root"
    write_table(root, "layer-1", ROWS, row_format="float8_e4m3+e8m0/32", fingerprint="fp")
    write_table(root, "wide", WIDE, backend="lmdb")
    write_table(root, "loaded", ROWS)
    return root


@pytest.fixture
async def channel(root):
    config = ServerConfig(root=root, listen="127.0.0.1:0", in_memory=frozenset({"loaded"}))
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return lookup_stubs.LookupServiceStub(channel)


async def failure_of(call) -> tuple[grpc.StatusCode, str, ErrorInfo]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error, info = caught.value, ErrorInfo()
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if details is not None:
        status = Status.FromString(details)
        assert status.code == error.code().value[0]
        assert status.details[0].Unpack(info)
        assert info.domain == "engram-store"
    return error.code(), error.details(), info


async def test_a_unary_lookup_gives_the_rows_and_their_version(stub, channel):
    table = (await table_stubs.TableServiceStub(channel).GetTable(tables.GetTableRequest(name="layer-1"))).table
    ids = [5, 0, 999, 5]

    for version in ("", table.version):
        response = await stub.Lookup(lookup.LookupRequest(table="layer-1", version=version, rows=ids))
        assert response.version == table.version
        assert response.rows == ROWS[ids].tobytes()


async def test_a_lookup_of_no_rows_gives_no_bytes(stub):
    response = await stub.Lookup(lookup.LookupRequest(table="layer-1"))

    assert response.rows == b""
    assert response.version


async def test_every_backend_answers(stub):
    for name, rows in (("layer-1", ROWS), ("loaded", ROWS), ("wide", WIDE)):
        assert (await stub.Lookup(lookup.LookupRequest(table=name, rows=[4, 1]))).rows == rows[[4, 1]].tobytes()


async def test_tables_are_described_in_full_and_ordered_by_name(channel):
    listed = (await table_stubs.TableServiceStub(channel).ListTables(tables.ListTablesRequest())).tables

    assert [(table.name, table.backend) for table in listed] == [
        ("layer-1", "mmap"),
        ("loaded", "memory"),
        ("wide", "lmdb"),
    ]
    first = listed[0]
    assert (first.num_rows, first.row_bytes, first.row_format, first.fingerprint) == (
        NUM_ROWS,
        264,
        "float8_e4m3+e8m0/32",
        "fp",
    )
    assert listed[2].max_rows_per_lookup == 3


async def test_a_client_with_grpcs_default_limits_can_receive_the_largest_lookup(stub, channel):
    limit = (await table_stubs.TableServiceStub(channel).GetTable(tables.GetTableRequest(name="layer-1"))).table
    ids = np.resize(np.arange(NUM_ROWS), limit.max_rows_per_lookup)

    response = await stub.Lookup(lookup.LookupRequest(table="layer-1", rows=ids))

    assert response.rows == ROWS[ids].tobytes()
    assert len(response.rows) > 4_000_000


async def test_more_rows_than_the_limit_are_refused_with_the_limit(stub):
    code, details, info = await failure_of(stub.Lookup(lookup.LookupRequest(table="wide", rows=[0, 1, 2, 3])))

    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")
    assert dict(info.metadata) == {"table": "wide", "rows": "4", "max_rows_per_lookup": "3"}
    assert "at most 3 rows" in details


async def test_a_message_above_grpcs_limit_is_refused_with_the_limit(stub):
    code, details, _ = await failure_of(stub.Lookup(lookup.LookupRequest(table="layer-1", rows=[0] * 600_000)))

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(4 << 20) in details


@pytest.mark.parametrize("row", [NUM_ROWS, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_row_outside_the_table_is_refused_with_its_number(stub, row):
    code, details, info = await failure_of(stub.Lookup(lookup.LookupRequest(table="layer-1", rows=[0, row, 1])))

    assert (code, info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "ROW_OUT_OF_RANGE")
    assert dict(info.metadata) == {"table": "layer-1", "row": str(row), "num_rows": "1000"}
    assert str(row) in details


@pytest.mark.parametrize(
    ("table", "version", "code", "reason"),
    [
        ("layer-2", "", grpc.StatusCode.NOT_FOUND, "TABLE_NOT_FOUND"),
        ("layer-1", "feed", grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"),
        ("../layer-1", "", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TABLE_NAME"),
        ("layer-1\0", "", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TABLE_NAME"),
        ("x" * 100_000, "", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TABLE_NAME"),
    ],
)
async def test_tables_and_versions_that_are_not_there_are_told_apart(stub, channel, table, version, code, reason):
    request = lookup.LookupRequest(table=table, version=version, rows=[0])
    found_code, _, info = await failure_of(stub.Lookup(request))
    assert (found_code, info.reason) == (code, reason)

    described = table_stubs.TableServiceStub(channel).GetTable(tables.GetTableRequest(name=table, version=version))
    found_code, _, info = await failure_of(described)
    assert (found_code, info.reason) == (code, reason)


@pytest.mark.parametrize(
    "path",
    [
        "/engram_store.v1.LookupService/Lookup",
        "/engram_store.v1.TableService/GetTable",
        "/engram_store.v1.TableService/ListTables",
    ],
)
async def test_garbage_is_refused_as_what_it_is(channel, path):
    code, details, info = await failure_of(channel.unary_unary(path)(b"\xff\xff\xff"))

    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert "3 bytes are no" in details


async def test_a_lookup_that_fails_on_a_stream_leaves_it_open(stub):
    stream = stub.LookupStream()
    await stream.write(lookup.LookupStreamRequest(id=1, table="layer-1", rows=[NUM_ROWS]))
    await stream.write(lookup.LookupStreamRequest(id=2, table="nope", rows=[0]))
    await stream.write(lookup.LookupStreamRequest(id=3, table="layer-1", rows=[7]))

    replies = {reply.id: reply for reply in [await stream.read() for _ in range(3)]}

    assert replies[1].failure.code == grpc.StatusCode.OUT_OF_RANGE.value[0]
    assert replies[1].failure.metadata["num_rows"] == "1000"
    assert replies[2].failure.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert replies[3].rows == ROWS[7].tobytes()
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_garbage_on_a_stream_ends_it_after_the_replies_to_what_came_before(channel):
    stream = channel.stream_stream("/engram_store.v1.LookupService/LookupStream")()
    await stream.write(lookup.LookupStreamRequest(id=1, table="layer-1", rows=[7]).SerializeToString())
    await stream.write(b"\xff\xff\xff")

    reply = lookup.LookupStreamResponse.FromString(await stream.read())
    assert reply.rows == ROWS[7].tobytes()

    code, _, info = await failure_of(stream.read())
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_one_of_several_lookups_in_a_message_that_fails_fails_alone(stub):
    lookups = [
        lookup.LookupStreamRequest(id=number, table=table, rows=rows)
        for number, (table, rows) in enumerate(
            [("layer-1", [7]), ("nope", [0]), ("loaded", [3, 1]), ("layer-1", [NUM_ROWS]), ("wide", [4])]
        )
    ]
    stream = stub.LookupStream()
    assert dict(await stream.initial_metadata())["lookups-a-message"] == "64"
    lookups[0].more.extend(lookups[1:])
    await stream.write(lookups[0])

    replies = {}
    while len(replies) < len(lookups):
        reply = await stream.read()
        replies |= {each.id: each for each in (reply, *reply.more)}

    assert replies[0].rows == ROWS[7].tobytes()
    assert replies[1].failure.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert replies[2].rows == ROWS[[3, 1]].tobytes()
    assert replies[3].failure.metadata["num_rows"] == "1000"
    assert replies[4].rows == WIDE[4].tobytes()
    stream.cancel()


async def test_lookups_of_rows_in_ram_that_come_in_one_message_are_answered_in_one(stub):
    request = lookup.LookupStreamRequest(id=1, table="loaded", rows=[5])
    request.more.add(id=2, table="loaded", rows=range(100))
    request.more.add(id=3, table="loaded", rows=[])
    stream = stub.LookupStream()
    await stream.write(lookup.LookupStreamRequest(id=9, table="loaded", rows=[0]))
    await stream.read()  # it is open now
    await stream.write(request)

    reply = await stream.read()

    assert [(each.id, each.rows) for each in (reply, *reply.more)] == [
        (1, ROWS[5].tobytes()),
        (2, ROWS[:100].tobytes()),
        (3, b""),
    ]
    stream.cancel()


async def test_lookups_that_came_one_by_one_are_answered_one_by_one(stub):
    """Clients that know nothing of several in one message find the answer to one in each."""
    stream = stub.LookupStream()
    for number in range(50):
        await stream.write(lookup.LookupStreamRequest(id=number, table="layer-1", rows=[number]))

    replies = [await stream.read() for _ in range(50)]

    assert not any(reply.more for reply in replies)
    assert {reply.id: reply.rows for reply in replies} == {number: ROWS[number].tobytes() for number in range(50)}
    stream.cancel()


async def test_more_lookups_than_a_message_may_have_end_the_stream(stub):
    request = lookup.LookupStreamRequest(id=0, table="layer-1", rows=[0])
    for number in range(64):
        request.more.add(id=1 + number, table="layer-1", rows=[0])
    stream = stub.LookupStream()
    await stream.write(request)

    code, details, info = await failure_of(stream.read())

    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert "65 lookups in one message, at most 64" in details


async def test_a_client_that_vanishes_in_mid_stream_harms_nobody(stub, caplog):
    ids = np.arange(NUM_ROWS)
    for _ in range(5):
        stream = stub.LookupStream()
        for number in range(1, 20):
            await stream.write(lookup.LookupStreamRequest(id=number, table="layer-1", rows=ids))
        await stream.read()
        stream.cancel()

    response = await stub.Lookup(lookup.LookupRequest(table="layer-1", rows=[1]))

    assert response.rows == ROWS[1].tobytes()
    assert caplog.records == []


async def test_health_is_reported_for_the_node_and_for_each_table(channel):
    health = health_pb2_grpc.HealthStub(channel)

    for service in ("", "layer-1", "wide"):
        response = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    code, _, _ = await failure_of(health.Check(health_pb2.HealthCheckRequest(service="layer-2")))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(channel):
    stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))

    listed = {service.name for service in (await stream.read()).list_services_response.service}
    await stream.done_writing()

    assert {
        "engram_store.v1.LookupService",
        "engram_store.v1.TableService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    } <= listed

"""Who may do what at a real node: the status of each refusal, what is hidden, and what ends in the middle of a call."""

import asyncio
import datetime
import json
import time

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.credentials import CredentialsOnDisk, bearer
from support.rows import random_rows
from support.tables import write_table
from support.told import told

from engram_store.v1 import cluster_service_pb2 as cluster
from engram_store.v1 import cluster_service_pb2_grpc as cluster_stubs
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import lookup_service_pb2_grpc as lookup_stubs
from engram_store.v1 import table_service_pb2 as tables
from engram_store.v1 import table_service_pb2_grpc as table_stubs
from store_server.access.access_config import AccessConfig
from store_server.access.token import Token
from store_server.config import ServerConfig
from store_server.node import running

ROWS = random_rows(100, 16)
DETAILS = "grpc-status-details-bin"
MOST_SECONDS = 5.0  # until a credential that ended has ended the calls of its bearer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("access") / "root"
    for name in ("open/a", "open/b", "closed/a"):
        write_table(root, name, ROWS)
    return root


@pytest.fixture
def written(tmp_path):
    return CredentialsOnDisk(tmp_path / "tokens.toml")


@pytest.fixture
async def channel(root, written, tmp_path):
    access = AccessConfig(tokens=written.path, audit_log=tmp_path / "audit.log")
    config = ServerConfig(root=root, listen="127.0.0.1:0", access=access)
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        yield channel


def audited(tmp_path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]


async def call(channel, method: str, metadata=(), table: str = "open/a"):
    """Call a method and read its first reply."""
    return await told(lambda: call_once(channel, method, metadata, table))


async def call_once(channel, method: str, metadata, table: str):
    match method:
        case "Lookup":
            request = lookup.LookupRequest(table=table, rows=[3])
            return await lookup_stubs.LookupServiceStub(channel).Lookup(request, metadata=metadata)
        case "LookupStream":
            stream = lookup_stubs.LookupServiceStub(channel).LookupStream(metadata=metadata)
            return await ask(stream, table)
        case "ListTables":
            return await table_stubs.TableServiceStub(channel).ListTables(tables.ListTablesRequest(), metadata=metadata)
        case "GetTable":
            request = tables.GetTableRequest(name=table)
            return await table_stubs.TableServiceStub(channel).GetTable(request, metadata=metadata)
        case "GetShardMap":
            stub = cluster_stubs.ClusterServiceStub(channel)
            return await stub.GetShardMap(cluster.GetShardMapRequest(), metadata=metadata)
        case "Check":
            request = health_pb2.HealthCheckRequest(service=table)
            return await health_pb2_grpc.HealthStub(channel).Check(request, metadata=metadata)
        case "Watch":
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), metadata=metadata)
            return await read(watching)
        case "ServerReflectionInfo":
            stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(metadata=metadata)
            await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            return await read(stream)
    raise AssertionError(method)


async def ask(stream, table: str, request_id: int = 1):
    await stream.write(lookup.LookupStreamRequest(id=request_id, table=table, rows=[3]))
    return await read(stream)


async def read(stream):
    reply = await stream.read()
    if reply is grpc.aio.EOF:
        await stream  # raises what the call ended with
    return reply


async def error_of(awaitable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(MOST_SECONDS):
            await awaitable
    return caught.value


METHODS = ["Lookup", "LookupStream", "ListTables", "GetTable", "GetShardMap", "Check", "Watch", "ServerReflectionInfo"]


@pytest.mark.parametrize("method", METHODS)
async def test_who_shows_no_right_credential_is_unauthenticated_everywhere(channel, written, method):
    token, other = written.add("client"), written.add("other")
    swapped = Token(token.id, other.secret)

    for metadata in ((), bearer(Token.new()), bearer(swapped), (("authorization", "Basic YTpi"),)):
        error = await error_of(call(channel, method, metadata))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert other.secret not in f"{error.details()} {error.trailing_metadata()}"
    await call(channel, method, bearer(token))


@pytest.mark.parametrize("method", ["Lookup", "LookupStream", "ListTables", "GetTable"])
async def test_a_scope_that_is_too_small_is_permission_denied(channel, written, method):
    token = written.add("operator", "admin write replicate", "*")

    error = await error_of(call(channel, method, bearer(token)))

    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert error.details() == "operator has no right to read; whoever runs the node can give it one"


@pytest.mark.parametrize("method", ["Lookup", "GetTable", "Check"])
async def test_a_table_that_is_forbidden_looks_like_one_that_is_missing(channel, written, method):
    token = written.add("client", "read", "open/*")

    forbidden = await error_of(call(channel, method, bearer(token), "closed/a"))
    missing = await error_of(call(channel, method, bearer(token), "closed/b"))

    assert forbidden.code() is missing.code() is grpc.StatusCode.NOT_FOUND
    assert forbidden.details().replace("closed/a", "closed/b") == missing.details()
    forbidden_bytes, missing_bytes = (dict(e.trailing_metadata())[DETAILS] for e in (forbidden, missing))
    assert forbidden_bytes.replace(b"closed/a", b"closed/b") == missing_bytes


async def test_a_stream_answers_what_is_forbidden_like_what_is_missing_and_goes_on(channel, written):
    token = written.add("client", "read", "open/*")
    stream = lookup_stubs.LookupServiceStub(channel).LookupStream(metadata=bearer(token))

    forbidden, missing = await ask(stream, "closed/a"), await ask(stream, "closed/b")
    allowed = await ask(stream, "open/a")

    assert forbidden.failure.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert forbidden.SerializeToString().replace(b"closed/a", b"closed/b") == missing.SerializeToString()
    assert allowed.rows == ROWS[3].tobytes()
    stream.cancel()


async def test_listings_show_what_the_caller_may_read(channel, written):
    some, all_ = written.add("some", "read", "open/*"), written.add("all")

    for token, names in ((some, ["open/a", "open/b"]), (all_, ["closed/a", "open/a", "open/b"])):
        listed = await call(channel, "ListTables", bearer(token))
        assert [table.name for table in listed.tables] == names


async def test_a_right_that_is_taken_away_counts_for_the_next_request_of_an_open_stream(channel, written):
    token = written.add("client", "read", "open/*")
    stream = lookup_stubs.LookupServiceStub(channel).LookupStream(metadata=bearer(token))
    assert (await ask(stream, "open/a")).rows

    written.change(token, "open/*", "closed/*")
    await seen(channel)

    assert (await ask(stream, "open/a")).failure.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert (await ask(stream, "closed/a")).rows
    stream.cancel()


async def seen(channel) -> None:
    """Let the node look at its credentials: an unknown token makes it."""
    await error_of(call(channel, "Lookup", bearer(Token.new())))


async def test_a_token_counts_from_the_moment_that_it_is_written(channel, written):
    for number in range(3):
        began = time.monotonic()
        await call(channel, "Lookup", bearer(written.add(f"client-{number}")))
        assert time.monotonic() - began < MOST_SECONDS


@pytest.mark.parametrize("how", ["revoked", "replaced"])
async def test_a_credential_that_ends_ends_the_open_calls_of_its_bearer_alone(channel, written, how):
    token, other = written.add("client"), written.add("other")
    stubs = lookup_stubs.LookupServiceStub(channel)
    stream, others = stubs.LookupStream(metadata=bearer(token)), stubs.LookupStream(metadata=bearer(other))
    watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), metadata=bearer(token))
    await asyncio.gather(ask(stream, "open/a"), ask(others, "open/a"), read(watching))

    if how == "revoked":
        written.remove(token)
    else:
        written.add("client", token=Token(token.id, Token.new().secret))
    errors = await asyncio.gather(error_of(read(stream)), error_of(read(watching)))

    for error in errors:
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error.details() == "the credential of client was revoked or replaced"
    assert (await ask(others, "open/a", 2)).rows
    assert (await error_of(call(channel, "Lookup", bearer(token)))).code() is grpc.StatusCode.UNAUTHENTICATED
    others.cancel()


async def test_a_token_that_expires_ends_its_open_stream(channel, written):
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1.5)
    token = written.add("client", expires=end.isoformat())
    stream = lookup_stubs.LookupServiceStub(channel).LookupStream(metadata=bearer(token))
    assert (await ask(stream, "open/a")).rows

    error = await error_of(read(stream))

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details() == f"the credential of client expired at {end.isoformat(timespec='seconds')}"
    assert (await error_of(call(channel, "Lookup", bearer(token)))).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_file_that_breaks_lets_in_those_whom_it_named_before(channel, written):
    token = written.add("client")
    await call(channel, "Lookup", bearer(token))

    written.path.write_text("[[token]")
    await seen(channel)

    await call(channel, "Lookup", bearer(token))


async def test_who_asks_beyond_its_rights_is_written_down_with_what_it_asked_for(channel, written, tmp_path):
    reader, operator = written.add("client", "read", "open/*"), written.add("operator", "admin", "*")
    stream = lookup_stubs.LookupServiceStub(channel).LookupStream(metadata=bearer(reader))
    await ask(stream, "open/a")

    await ask(stream, "closed/a")
    await error_of(call(channel, "GetTable", bearer(reader), "closed/b"))
    await error_of(call(channel, "Lookup", bearer(operator)))
    await call(channel, "Lookup", bearer(reader))
    stream.cancel()

    def refused():
        return [(line["caller"], line["reason"]) for line in audited(tmp_path) if line["outcome"] == "refused"]

    while len(refused()) < 3:
        await asyncio.sleep(0.01)
    assert refused() == [
        ("client", "no right to read table 'closed/a'"),
        ("client", "no right to read table 'closed/b'"),
        ("operator", "no right to read any table"),
    ]


async def test_what_happens_is_written_down_without_a_secret(channel, written, tmp_path):
    token, wrong = written.add("client"), Token.new()
    with structlog.testing.capture_logs() as logged:
        await call(channel, "Lookup", bearer(token))
        stream = lookup_stubs.LookupServiceStub(channel).LookupStream(metadata=bearer(token))
        await ask(stream, "open/a")
        await error_of(call(channel, "Lookup", bearer(wrong)))
        await error_of(call(channel, "Lookup", (("authorization", f"Bearer {wrong.text()}x"),)))
        written.remove(token)
        await error_of(read(stream))
        while len(lines := audited(tmp_path)[1:]) < 5:  # the first tells of the start
            await asyncio.sleep(0.01)

    assert [(line["action"], line["outcome"]) for line in lines] == [
        ("credentials", "reread"),
        ("call", "refused"),
        ("call", "refused"),
        ("credentials", "reread"),
        ("calls", "ended"),
    ]
    assert lines[0]["added"] == lines[3]["removed"] == [token.id]
    assert lines[1]["token_id"] == wrong.id
    assert lines[1]["peer"].startswith("ipv4:127.0.0.1:")
    refused = [line for line in logged if line["event"] == "caller refused"]
    assert len(refused) == 2
    for secret in (token.secret, wrong.secret):
        assert secret not in f"{logged} {lines}"

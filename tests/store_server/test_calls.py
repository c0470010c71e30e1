"""The border that calls pass, at a real server: who may do what, and what an observer is told."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from store_server import failures
from store_server.access.caller import Anybody, Scope
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.services.call import Call
from store_server.services.calls import Calls

SERVICE = "engram_store.v1.Tried"
FAILING = {b"open/busy": failures.overloaded("max-queued", 4, 4), b"open/unread": failures.reads_nothing(1.0)}


class Reader:
    """May read tables that begin with `open/`, and nothing else."""

    name, key = "reader", "reader"

    def may(self, scope, table):
        return scope == Scope.READ and table.startswith("open/")

    def may_anywhere(self, scope):
        return scope == Scope.READ

    def may_everywhere(self, _):
        return False


class FixedAccess:
    def __init__(self, caller):
        self.caller = caller
        self.denials = []

    @asynccontextmanager
    async def admitted(self, _):
        if self.caller is None:
            raise failures.unauthenticated("show a token")
        yield self.caller

    def denied(self, caller, _peer, reason):
        self.denials.append((caller.name, reason))


class Recorder:
    def __init__(self):
        self.calls = []

    def began(self, method, _metadata):
        return RecordedCall(self.calls, method)


class RecordedCall:
    caller, request_id = "", "7"

    def __init__(self, calls, method):
        self.calls, self.method = calls, method
        self.messages = [0, 0]

    def received(self):
        self.messages[0] += 1

    def sent(self):
        self.messages[1] += 1

    def failed(self, failure):
        pass

    def ended(self, code):
        self.calls.append((self.method.name, self.method.kind, code, *self.messages))


async def look(message: bytes, call: Call) -> bytes:
    call.require(Scope.READ, message.decode())
    if message == b"open/broken":
        raise ZeroDivisionError
    if message in FAILING:
        raise FAILING[message]
    return b"rows of " + message


async def write_twice(message: bytes, call: Call) -> None:
    for _ in range(2):
        await call.write(message)


async def echo(call: Call) -> None:
    while isinstance(message := await call.context.read(), bytes):
        call.observed.received()
        await call.write(message)


async def outcome(access, use):
    """What `use` of a server whose methods pass the border comes to, and what was observed."""
    recorder = Recorder()
    calls = Calls(Load(Limits(), 1), access, recorder)
    handlers = {
        "Look": calls.one_reply(SERVICE, "Look", Scope.READ, look),
        "Change": calls.one_reply(SERVICE, "Change", Scope.WRITE, look),
        "Twice": calls.many_replies(SERVICE, "Twice", Scope.READ, write_twice),
        "Echo": calls.both_ways(SERVICE, "Echo", Scope.READ, echo),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                return await use(channel), recorder.calls
            except grpc.aio.AioRpcError as error:
                return (error.code(), error.details()), recorder.calls
    finally:
        await server.stop(None)
        # A client has its answer before the end of its call is told.
        if handlers_at_work := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(handlers_at_work, timeout=10)


def one(method, message, metadata=()):
    return lambda channel: channel.unary_unary(f"/{SERVICE}/{method}")(message, timeout=10, metadata=metadata)


async def test_who_has_the_right_is_answered_and_the_end_is_told():
    found, told = await outcome(FixedAccess(Reader()), one("Look", b"open/a"))

    assert found == b"rows of open/a"
    assert told == [("Look", "unary", grpc.StatusCode.OK, 1, 1)]


async def test_a_table_that_may_not_be_read_looks_like_one_that_is_not_there():
    found, told = await outcome(FixedAccess(Reader()), one("Look", b"secret/a"))

    assert found == (grpc.StatusCode.NOT_FOUND, "no table 'secret/a' on this node")
    assert told == [("Look", "unary", grpc.StatusCode.NOT_FOUND, 1, 0)]


async def test_a_name_that_no_table_can_have_is_refused_as_such_whoever_asks():
    found, _ = await outcome(FixedAccess(Reader()), one("Look", b"../etc"))
    same, _ = await outcome(FixedAccess(Anybody("")), one("Look", b"open/a"))

    assert found[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert same == b"rows of open/a"


async def test_a_service_for_which_there_is_no_right_at_all_is_denied():
    found, told = await outcome(FixedAccess(Reader()), one("Change", b"open/a"))

    assert found[0] == grpc.StatusCode.PERMISSION_DENIED
    assert "write" in found[1]
    assert told == [("Change", "unary", grpc.StatusCode.PERMISSION_DENIED, 0, 0)]


@pytest.mark.parametrize(
    ("message", "word", "code"),
    [
        (b"open/busy", "overloaded", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (b"open/unread", "reads-nothing", grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
async def test_a_reason_that_its_caller_does_not_know_comes_with_a_status_that_makes_it_try_again(message, word, code):
    others = ("engram-knows", "what-comes-later"), ("knows", word)
    known, told = await outcome(FixedAccess(Reader()), one("Look", message, (*others, ("engram-knows", f"a,{word}"))))
    unknown, told_older = await outcome(FixedAccess(Reader()), one("Look", message, others))

    assert (known[0], unknown[0]) == (code, grpc.StatusCode.UNAVAILABLE)
    assert known[1] == unknown[1]
    assert [call[2] for call in (*told, *told_older)] == [code, grpc.StatusCode.UNAVAILABLE]


async def test_access_hears_of_each_who_has_no_right_and_of_nobody_else():
    access = FixedAccess(Reader())

    for method, message in (("Look", b"open/a"), ("Look", b"secret/a"), ("Change", b"open/a"), ("Look", b"../etc")):
        await outcome(access, one(method, message))

    assert access.denials == [
        ("reader", "no right to read table 'secret/a'"),
        ("reader", "no right to write any table"),
    ]


async def test_who_does_not_say_who_it_is_gets_no_further():
    found, told = await outcome(FixedAccess(None), one("Look", b"open/a"))

    assert found == (grpc.StatusCode.UNAUTHENTICATED, "show a token")
    assert told == [("Look", "unary", grpc.StatusCode.UNAUTHENTICATED, 0, 0)]


@pytest.mark.filterwarnings("ignore")
async def test_a_mistake_of_ours_is_told_as_unknown():
    found, told = await outcome(FixedAccess(Reader()), one("Look", b"open/broken"))

    assert found[0] == grpc.StatusCode.UNKNOWN
    assert told == [("Look", "unary", grpc.StatusCode.UNKNOWN, 1, 0)]


async def test_replies_of_many_and_of_both_ways_are_written_by_the_service():
    async def use(channel):
        twice = [reply async for reply in channel.unary_stream(f"/{SERVICE}/Twice")(b"a", timeout=10)]
        stream = channel.stream_stream(f"/{SERVICE}/Echo")(timeout=10)
        await stream.write(b"b")
        echoed = await stream.read()
        await stream.done_writing()
        return twice, echoed, await stream.code()

    found, told = await outcome(FixedAccess(Reader()), use)

    assert found == ([b"a", b"a"], b"b", grpc.StatusCode.OK)
    assert told == [
        ("Twice", "server_stream", grpc.StatusCode.OK, 1, 2),
        ("Echo", "bidi_stream", grpc.StatusCode.OK, 1, 1),
    ]

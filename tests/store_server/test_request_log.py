"""What a node's log tells of requests, and how a caller finds its own there."""

import json

import grpc
import pytest
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1.lookup_service_pb2 import LookupRequest, LookupStreamRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub

PATIENCE_SECONDS = 60
MANY = 500


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("log") / "root"
    write_table(root, "t", random_rows(1000, 64))
    return root


@pytest.fixture
def node(root):
    with node_process(root, "--in-memory", "t", "--log-format", "json") as node:
        yield node


def lines(node):
    """All lines of the log of a node that was stopped: each is one object."""
    assert node.stop() == 0
    return [json.loads(line) for line in node.log.splitlines()]


def ask(node, request, *metadata):
    """The status and the id with which a call ended."""
    with grpc.insecure_channel(node.address) as channel:
        call = LookupServiceStub(channel).Lookup.future(request, timeout=PATIENCE_SECONDS, metadata=metadata)
        return call.code().name, dict(call.trailing_metadata())["x-request-id"]


def test_a_failed_request_is_logged_under_the_id_that_its_caller_gave(node):
    given = ("x-request-id", "step-12")
    assert ask(node, LookupRequest(table="t", rows=[1000]), given) == ("OUT_OF_RANGE", "step-12")

    (line,) = [line for line in lines(node) if line["event"] == "request failed"]

    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line["request_id"], line["reason"]) == ("step-12", "ROW_OUT_OF_RANGE")
    assert line["method"] == "engram_store.v1.LookupService/Lookup"
    assert "got 1000" in line["error"]


def test_a_request_without_an_id_gets_one_and_an_answer_bears_it(node):
    assert ask(node, LookupRequest(table="t", rows=[1]), ("x-request-id", "mine")) == ("OK", "mine")
    code, made = ask(node, LookupRequest(table="made-up", rows=[1]), ("x-request-id", "two words"))

    failed = [line for line in lines(node) if line["event"] == "request failed"]

    assert code == "NOT_FOUND"
    assert [line["request_id"] for line in failed] == [made]


def test_failures_on_a_stream_are_logged_a_few_a_second_and_the_rest_counted(node):
    def asked():
        for number in range(1, MANY + 1):
            yield LookupStreamRequest(id=number, table="t", rows=[5000])

    with grpc.insecure_channel(node.address) as channel:
        stub = LookupServiceStub(channel)
        replies = list(stub.LookupStream(asked(), timeout=PATIENCE_SECONDS, metadata=[("x-request-id", "run-1")]))

    failed = [line for line in lines(node) if line["event"] == "request failed"]

    assert len(replies) == MANY
    assert 10 <= len(failed) < MANY
    assert {line["request_id"] for line in failed} == {"run-1"}
    assert sum(line.get("lines_left_out", 0) for line in failed) + len(failed) <= MANY

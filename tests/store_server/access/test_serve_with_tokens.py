"""`serve --tokens` as it runs: several workers that know the same callers, one audit log, and no secret anywhere."""

import json
import re
import time
from pathlib import Path

import grpc
import pytest
from support.credentials import CredentialsOnDisk, bearer
from support.processes import node_process
from support.rows import random_rows
from support.scraping import scrape
from support.tables import write_table

import engram_client
from engram_store.v1 import table_service_pb2_grpc
from engram_store.v1.table_service_pb2 import ListTablesRequest
from store_server.access.token import Token

ROWS = random_rows(100, 16)
PATIENCE_SECONDS = 60


@pytest.fixture
def written(tmp_path):
    return CredentialsOnDisk(tmp_path / "tokens.toml")


@pytest.fixture
def node(tmp_path, written):
    write_table(tmp_path / "root", "t", ROWS)
    options = ("--workers", "2", "--tokens", str(written.path), "--audit-log", str(tmp_path / "audit.log"))
    with node_process(tmp_path / "root", *options, "--metrics-listen", "127.0.0.1:0", is_fresh=True) as node:
        yield node


def test_a_warning_about_the_file_is_in_the_log_and_nowhere_else(tmp_path, written):
    write_table(tmp_path / "root", "t", ROWS)
    written.path.chmod(0o644)

    with node_process(tmp_path / "root", "--tokens", str(written.path)) as node:  # whose first line says where it is
        assert node.logged("the credentials are open to others")


def workers_of(node, token) -> list[str]:
    with grpc.insecure_channel(node.address) as channel:
        stub = table_service_pb2_grpc.TableServiceStub(channel)
        found = stub.ListTables(ListTablesRequest(), metadata=bearer(token), timeout=PATIENCE_SECONDS)
    return [f"127.0.0.1:{port}" for port in found.workers.listen]


def status_at(address, token) -> grpc.StatusCode:
    with grpc.insecure_channel(address) as channel:
        stub = table_service_pb2_grpc.TableServiceStub(channel)
        try:
            stub.ListTables(ListTablesRequest(), metadata=bearer(token), timeout=PATIENCE_SECONDS)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def comes_true(condition) -> bool:
    latest = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > latest:
            return False
        time.sleep(0.05)
    return True


def audited(tmp_path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]


def outcomes(tmp_path) -> list[tuple[str, str]]:
    return [(line["action"], line["outcome"]) for line in audited(tmp_path)]


def test_every_worker_knows_who_calls_and_one_audit_log_has_it_all(node, written, tmp_path):
    token, wrong = written.add("client"), Token.new()
    workers = workers_of(node, token)
    assert [status_at(worker, token) for worker in workers] == [grpc.StatusCode.OK] * 2
    assert [status_at(worker, wrong) for worker in workers] == [grpc.StatusCode.UNAUTHENTICATED] * 2

    write_table(tmp_path / "root", "u", ROWS)
    assert comes_true(lambda: ("table", "came") in outcomes(tmp_path))
    written.remove(token)
    assert comes_true(lambda: {status_at(worker, token) for worker in workers} == {grpc.StatusCode.UNAUTHENTICATED})
    command_lines = b"".join(path.read_bytes() for path in _command_lines(node.process.pid))
    node.stop()

    found = outcomes(tmp_path)
    assert found.count(("node", "started")) == found.count(("node", "draining")) == found.count(("table", "came")) == 1
    assert len({line["pid"] for line in audited(tmp_path) if line["outcome"] == "refused"}) == 2
    for secret in (token.secret, wrong.secret):
        assert secret not in node.log + (tmp_path / "audit.log").read_text()
        assert secret.encode() not in command_lines
    assert str(written.path).encode() in command_lines


def _command_lines(pid: int) -> list[Path]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{each}/cmdline") for each in (str(pid), *children)]


def test_a_file_that_broke_can_be_seen_in_the_metrics(node, written):
    assert scrape(node).total("engram_credentials_reload_failures_total") == 0
    assert scrape(node).total("engram_audit_failures_total") == 0

    written.path.write_text("[[token]")

    assert comes_true(
        lambda: all(
            scrape(node).total("engram_credentials_reload_failures_total", file=str(written.path), worker=worker) > 0
            for worker in "01"
        )
    )
    assert scrape(node).total("engram_credentials_stale", file=str(written.path)) == 2
    assert node.logged("the credentials cannot be read; what they last said counts")

    written.path.write_text("")

    assert comes_true(lambda: scrape(node).total("engram_credentials_stale") == 0)


def test_a_client_shows_its_token(node, written):
    token = written.add("client")

    with engram_client.connect_blocking(node.url, token=token.text()) as store:
        assert (store.table("t").fetch([3]) == ROWS[3]).all()
    with engram_client.connect_blocking(node.url) as store, pytest.raises(engram_client.Unauthenticated) as caught:
        store.table("t")
    assert re.search("show a token, or a client certificate", str(caught.value))


@pytest.mark.parametrize("what", ["missing", "broken", "no-directory"])
def test_a_node_does_not_start_with_files_that_it_cannot_use(tmp_path, written, what):
    write_table(tmp_path / "root", "t", ROWS)
    tokens, audit_log = written.path, tmp_path / "audit.log"
    if what == "missing":
        tokens = tmp_path / "missing.toml"
    elif what == "broken":
        tokens.write_text("[[token]")
    else:
        audit_log = tmp_path / "missing" / "audit.log"

    with pytest.raises(AssertionError, match=r"exit 1\nerror: --(tokens|audit-log): .*(missing|tokens\.toml)"):
        node_process(tmp_path / "root", "--tokens", str(tokens), "--audit-log", str(audit_log)).__enter__()

"""The metrics of a node of several workers: one exposition of all, whatever becomes of some of them."""

import os
import signal

import grpc
import pytest
from support.processes import node_process
from support.rows import random_rows
from support.scraping import scrape
from support.tables import write_table

from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub
from engram_store.v1.table_service_pb2 import ListTablesRequest
from engram_store.v1.table_service_pb2_grpc import TableServiceStub

ROWS = random_rows(1000, 64)
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("metrics") / "root"
    write_table(root, "t", ROWS)
    return root


@pytest.fixture
def node(root):
    with node_process(root, "--workers", "2", "--metrics-listen", "127.0.0.1:0") as node:
        yield node


def pid_of(node, worker):
    found = scrape(node).where("process_start_time_seconds", worker=worker)
    assert len(list(found)) == 1
    lines = [line for line in node.log.splitlines() if f"worker={worker} " in line and " pid=" in line]
    return int(lines[-1].rpartition("pid=")[2])


def test_each_sample_says_of_which_worker_it_is(node):
    shown = scrape(node)

    assert {sample.labels["worker"] for sample in shown.samples} == {"0", "1"}
    assert shown.total("engram_worker_up") == 2
    assert shown.total("engram_node_ready") == 2
    for worker in ("0", "1"):
        assert shown.total("engram_table_rows", worker=worker, table="t") == 1000


def test_a_worker_that_stands_still_is_shown_as_down_and_the_other_as_it_is(node):
    stopped = pid_of(node, "1")
    os.kill(stopped, signal.SIGSTOP)
    try:
        for _ in range(3):
            shown = scrape(node)

            assert [shown.total("engram_worker_up", worker=worker) for worker in "01"] == [1, 0]
            assert shown.labels("engram_node_ready", "worker") == {"0"}
    finally:
        os.kill(stopped, signal.SIGCONT)

    while scrape(node).total("engram_worker_up") < 2:
        pass
    assert scrape(node).total("engram_worker_restarts_total") == 0


def looked_up_by_each_worker(node):
    with grpc.insecure_channel(node.address) as channel:
        described = TableServiceStub(channel).ListTables(ListTablesRequest(), timeout=PATIENCE_SECONDS)
    for rows, port in enumerate(described.workers.listen, 1):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            LookupServiceStub(channel).Lookup(LookupRequest(table="t", rows=range(rows)), timeout=PATIENCE_SECONDS)


def test_what_a_worker_has_counted_stays_when_another_dies(node):
    looked_up_by_each_worker(node)
    counted = ("engram_rows_total", "engram_lookups_total", "engram_lookup_seconds_sum", "grpc_server_handled_total")
    before = [scrape(node).total(name, worker="1") for name in counted]

    os.kill(pid_of(node, "0"), signal.SIGKILL)
    assert node.logged("event='worker replaced' worker=0 ")

    after = scrape(node)
    assert [after.total(name, worker="1") for name in counted] == before
    assert before[:2] == [2, 1]
    assert after.total("engram_rows_total", worker="0") == 0


def test_a_worker_that_died_is_shown_as_replaced(node):
    os.kill(pid_of(node, "0"), signal.SIGKILL)
    assert node.logged("event='worker replaced' worker=0 ")

    shown = scrape(node)

    assert [shown.total("engram_worker_restarts_total", worker=worker) for worker in "01"] == [1, 0]
    assert [shown.total("engram_worker_up", worker=worker) for worker in "01"] == [1, 1]

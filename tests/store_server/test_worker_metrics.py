"""The metrics of a node of several workers: one exposition of all, whatever becomes of some of them."""

import os
import signal

import pytest
from support.processes import node_process
from support.rows import random_rows
from support.scraping import scrape
from support.tables import write_table

ROWS = random_rows(1000, 64)


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


def test_a_worker_that_died_is_shown_as_replaced(node):
    os.kill(pid_of(node, "0"), signal.SIGKILL)
    assert node.logged("event='worker replaced' worker=0 ")

    shown = scrape(node)

    assert [shown.total("engram_worker_restarts_total", worker=worker) for worker in "01"] == [1, 0]
    assert [shown.total("engram_worker_up", worker=worker) for worker in "01"] == [1, 1]

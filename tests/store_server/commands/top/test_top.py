"""`top` at real nodes."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time

import grpc
import pytest
from support.network import free_ports
from support.processes import node_process
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import Node, write_shard_map
from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub

PATIENCE_SECONDS = 60
PATIENT = ("--timeout", "30")


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", random_rows(100, 16))
    return tmp_path / "root"


def test_a_node_with_its_workers_and_tables_is_shown_once(root, run):
    with node_process(root, "--workers", "2") as node:
        with grpc.insecure_channel(node.address) as channel:
            LookupServiceStub(channel).Lookup(LookupRequest(table="t", rows=[1]), timeout=PATIENCE_SECONDS)
        outcome = run("top", node.url, "--once", "--json", "--interval", "0.1", *PATIENT)
        lines = run("top", node.url, "--once", "--interval", "0.1", *PATIENT).out

    (found,) = map(json.loads, outcome.out.splitlines())
    (shown,) = found["nodes"]
    (table,) = found["tables"]
    assert outcome.status == 0
    assert (shown["address"], shown["state"], shown["processes"], shown["answering"]) == (node.address, "ready", 2, 2)
    assert shown["traffic"]["rows"] == 0
    assert (table["name"], table["num_rows"], table["num_bytes"], table["not_served_by"]) == ("t", 100, 1600, [])
    assert "ready (2 workers)" in lines
    assert "\x1b" not in lines


def test_the_nodes_of_a_cluster_are_found_by_its_map_and_one_that_is_down_is_named(root, run, tmp_path):
    ports = free_ports(2)
    nodes = [Node(id=name, address=f"127.0.0.1:{port}") for name, port in zip("ab", ports, strict=True)]
    (tmp_path / "map.json").write_text(write_shard_map(shard_map_of(*nodes, replicas=2)))
    member = ("--cluster", f"file://{tmp_path}/map.json", "--node-id", "a")
    with node_process(root, *member, listen=nodes[0].address) as node:
        outcome = run("top", node.url, "--once", "--json", "--interval", "0.1", *PATIENT)

    found = json.loads(outcome.out)
    assert outcome.status == 0
    assert [(node["name"], node["state"]) for node in found["nodes"]][1] == ("b", "no answer")
    assert found["nodes"][0]["answering"] == 1
    assert nodes[1].address not in found["nodes"][1]["failure"].split(": ")[0]
    assert found["nodes"][1]["failure"]


def test_a_node_that_never_answers_is_waited_for_no_longer_than_was_said(root, run):
    with node_process(root) as node, socket.create_server(("127.0.0.1", 0)) as silent:
        mute = f"127.0.0.1:{silent.getsockname()[1]}"
        url = f"{node.url},{mute}"
        outcome = run("top", url, "--once", "--json", "--interval", "0.1", "--timeout", "5")

    found = json.loads(outcome.out)["nodes"]
    assert [(node["address"], node["state"]) for node in found] == [(node.address, "ready"), (mute, "no answer")]


def test_a_store_of_which_no_node_answers_is_a_failure(run):
    (free,) = free_ports(1)

    outcome = run("top", f"grpc://127.0.0.1:{free}", "--once", *PATIENT)

    assert outcome.status == 1
    assert f"127.0.0.1:{free}" in outcome.error


def test_ctrl_c_leaves_a_terminal_as_it_was(root):
    with node_process(root) as node:
        ours, its = pty.openpty()
        command = (sys.executable, "-m", "store_server", "top", node.url, "--interval", "0.2", *PATIENT)
        with subprocess.Popen(
            command, stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "xterm"}, start_new_session=True
        ) as top:
            os.close(its)
            before = read_until(ours, b"rows/s")
            top.send_signal(signal.SIGINT)
            after = read_until(ours, b"interrupted")
            assert top.wait(PATIENCE_SECONDS) == 130
        os.close(ours)

    assert b"\x1b[?1049h" in before
    assert b"\x1b[?1049l" in after
    assert b"\x1b[?25h" in after


def read_until(terminal, text):
    """Return what came on a terminal, up to and including a text."""
    found, latest = b"", time.monotonic() + PATIENCE_SECONDS
    while text not in found:
        assert select.select([terminal], (), (), max(0.0, latest - time.monotonic()))[0], found
        found += os.read(terminal, 65536)
    return found

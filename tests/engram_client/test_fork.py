"""After a fork a store gives a clear error or works anew; it never hangs. Each case runs in a process of its own."""

import subprocess
import sys
import textwrap

import pytest
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

CHILD = """
import os, sys, signal
import numpy as np
import engram_client
from engram_client.errors import ForkedProcess

url, expected = sys.argv[1], bytes.fromhex(sys.argv[2])

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a hang ends the child, and shows
        try:
            work()
            os._exit(0)
        except ForkedProcess as error:
            assert "spawn" in str(error), error
            os._exit(7)
        except BaseException as error:
            print("child:", repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print("the child ended with", code, file=sys.stderr)
    return code

def fetch_anew():
    with engram_client.connect_blocking(url) as store:
        assert store.table("layer-1").fetch([3]).tobytes() == expected
"""


@pytest.fixture(scope="module")
def rows():
    return random_rows(10, 8)


@pytest.fixture(scope="module")
def root(rows, tmp_path_factory):
    root = tmp_path_factory.mktemp("fork") / "root"
    write_table(root, "layer-1", rows)
    return root


@pytest.fixture(scope="module")
def node(root):
    with node_process(root) as node:
        yield node


def run(script, url, rows):
    program = CHILD + textwrap.dedent(script)
    command = [sys.executable, "-c", program, url, rows[3].tobytes().hex()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.mark.parametrize("way", ["grpc", "file"])
def test_an_inherited_store_raises_in_the_child_and_works_on_in_the_parent(way, node, root, rows):
    script = """
        store = engram_client.connect_blocking(url)
        table = store.table("layer-1")
        table.fetch([3])
        assert in_child(lambda: table.fetch([3])) == 7
        assert in_child(lambda: store.table("layer-1")) == 7
        assert in_child(lambda: store.close()) == 7
        assert table.fetch([3]).tobytes() == expected
        store.close()
    """
    run(script, node.url if way == "grpc" else f"file://{root}", rows)


def test_a_new_connection_in_a_child_is_refused_if_the_parent_has_or_had_one(node, rows):
    script = """
        with engram_client.connect_blocking(url) as store:
            store.table("layer-1").fetch([3])
            assert in_child(fetch_anew) == 7
        assert in_child(fetch_anew) == 7
    """
    run(script, node.url, rows)


def test_a_child_survives_the_garbage_that_its_parents_stores_left(node, rows):
    script = """
        import gc
        gc.disable()
        for attempt in range(4):
            with engram_client.connect_blocking(url) as store:
                store.table("layer-1").fetch([3])
        del store
        assert in_child(gc.collect) == 0
    """
    run(script, node.url, rows)


def test_a_new_connection_in_a_child_works_if_the_parent_has_not_connected(node, rows):
    script = """
        assert in_child(fetch_anew) == 0
        never_used = engram_client.connect(url)
        assert in_child(fetch_anew) == 0
    """
    run(script, node.url, rows)


def test_files_can_be_opened_anew_in_any_child(root, rows):
    script = """
        with engram_client.connect_blocking(url) as store:
            store.table("layer-1").fetch([3])
            assert in_child(fetch_anew) == 0
    """
    run(script, f"file://{root}", rows)


def test_a_program_that_forgets_to_close_its_store_ends(node, rows):
    script = """
        store = engram_client.connect_blocking(url)
        pending = store.table("layer-1").prefetch([3])
    """
    assert run(script, node.url, rows).returncode == 0


@pytest.mark.parametrize("before", ["import grpc, grpc.aio", "os.environ['GRPC_ENABLE_FORK_SUPPORT'] = '1'"])
def test_where_grpc_handles_forks_itself_they_are_warned_of_and_no_child_hangs(before, node, rows):
    script = f"""
        {before}
        store = engram_client.connect_blocking(url)
        table = store.table("layer-1")
        table.fetch([3])
        # An error; or gRPC has crashed the child at the fork. Never a hang (SIGALRM), never rows.
        assert in_child(lambda: table.fetch([3])) in (7, -signal.SIGSEGV, -signal.SIGABRT)
        store.close()
    """
    assert "forks after it has opened a store" in run(script, node.url, rows).stderr


def test_a_fork_that_is_safe_is_not_warned_of(node, rows):
    script = """
        assert in_child(fetch_anew) == 0
        with engram_client.connect_blocking(url) as store:
            store.table("layer-1").fetch([3])
            assert in_child(fetch_anew) == 7
    """
    assert "forks after" not in run(script, node.url, rows).stderr

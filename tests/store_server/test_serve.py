"""The node as a process: how it starts, stops, dies and comes back."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors

ROWS = random_rows(20_000, 264)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("serve") / "root"
    write_table(root, "layer-1", ROWS)
    write_table(root, "layer-2", ROWS, backend="lmdb")
    return root


STARTS = """
import contextlib, io, json, sys
from store_server.commands import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["serve", *json.loads(line)])
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def failed_start():
    """Start nodes that must not start, and return what each says at last. One process: its beginning takes a second."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def failed(*arguments, status=1) -> str:
            process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
            process.stdin.flush()
            found, out, err = json.loads(process.stdout.readline())
            assert (found, out) == (status, "")
            assert err.splitlines()[-1].startswith("error: ")
            return err.splitlines()[-1]

        yield failed


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_fetches_under_way_finish_and_ends_with_zero(root, signal_number):
    ids = np.random.default_rng(0).integers(0, len(ROWS), 100_000)
    with node_process(root) as node, engram_client.connect_blocking(node.url, timeout=60) as store:
        table = store.table("layer-1")
        pending = [table.prefetch(ids) for _ in range(6)]
        assert np.array_equal(pending[0].result(), ROWS[ids])

        node.process.send_signal(signal_number)

        for rows in pending[1:]:
            assert np.array_equal(rows.result(), ROWS[ids])
        assert node.wait() == 0
        with pytest.raises(errors.Unavailable):
            table.fetch([1], timeout=0.5)
    assert "draining" in node.log


@pytest.mark.parametrize(
    ("budget", "workers", "status", "message"),
    [
        ("much", 1, 2, "such as 1048576, 512MiB or 8GiB, got 'much'"),
        ("1MB", 1, 1, "error: --memory-budget must be at least 16,777,216 bytes, got 1,000,000"),
        ("1MB", 4, 1, "error: --memory-budget for 4 workers must be at least 67,108,864 bytes, got 1,000,000"),
        ("32MiB", 4, 1, "error: --memory-budget for 4 workers must be at least 67,108,864 bytes, got 33,554,432"),
    ],
)
def test_a_memory_budget_that_cannot_be_kept_is_refused(failed_start, root, budget, workers, status, message):
    assert message in failed_start(root, "--memory-budget", budget, "--workers", workers, status=status)


def test_a_second_signal_ends_the_node_at_once(root):
    with node_process(root, "--drain-seconds", "600") as node, engram_client.connect_blocking(node.url) as store:
        table = store.table("layer-1")
        busy = threading.Event()
        stop = threading.Event()

        def keep_fetching():  # the stream is never quiet, so the drain would take its whole time
            with contextlib.suppress(errors.EngramError):
                while not stop.is_set():
                    table.fetch([1], timeout=0.5)
                    busy.set()

        fetching = threading.Thread(target=keep_fetching)
        fetching.start()
        assert busy.wait(60)
        node.process.send_signal(signal.SIGTERM)
        assert node.logged("draining")
        code = node.stop(signal.SIGTERM)
        stop.set()
        fetching.join(60)

    assert code == 128 + signal.SIGTERM
    assert "second signal" in node.log


def test_a_killed_node_that_comes_back_is_found_again_without_a_lost_fetch(root):
    ids = np.random.default_rng(1).integers(0, len(ROWS), 50_000)
    with node_process(root) as node, engram_client.connect_blocking(node.url, timeout=60) as store:
        table = store.table("layer-1")
        pending = [table.prefetch(ids) for _ in range(8)]
        assert np.array_equal(pending[0].result(), ROWS[ids])

        assert node.stop(signal.SIGKILL) == -signal.SIGKILL
        with node_process(root, listen=node.address):
            for rows in pending[1:]:
                assert np.array_equal(rows.result(), ROWS[ids])
            assert np.array_equal(table.fetch(ids), ROWS[ids])


def test_a_killed_node_that_stays_away_costs_the_time_limit_and_no_more(root):
    out = np.full((200_000, 264), 7, np.uint8)
    ids = np.resize(np.arange(len(ROWS)), len(out))
    with node_process(root) as node, engram_client.connect_blocking(node.url) as store:
        table = store.table("layer-1")
        table.fetch([1])
        pending = table.prefetch(ids, out=out, timeout=1.0)

        node.stop(signal.SIGKILL)

        # Killed before or after the last row left the node: either all rows, or an error within the limit.
        with contextlib.suppress(errors.Unavailable):
            assert np.array_equal(pending.result(), ROWS[ids])
        with pytest.raises(errors.Unavailable, match="gave up after 0.5 s"):
            table.fetch([1], timeout=0.5)


def test_a_node_that_hangs_costs_the_time_limit_and_is_used_again_when_it_goes_on(root):
    with node_process(root) as node, engram_client.connect_blocking(node.url) as store:
        table = store.table("layer-1")
        table.fetch([1])
        node.process.send_signal(signal.SIGSTOP)

        with pytest.raises(errors.TimeLimitExceeded):
            table.fetch([2], timeout=0.3)

        node.process.send_signal(signal.SIGCONT)
        assert np.array_equal(table.fetch([3]), ROWS[[3]])


def test_a_unix_socket_serves_like_a_port(root, tmp_path):
    with node_process(root, listen=f"unix://{tmp_path}/node.sock") as node:
        assert node.url == f"unix://{tmp_path}/node.sock"
        with engram_client.connect_blocking(node.url) as store:
            assert np.array_equal(store.table("layer-2").fetch([[1, 2]]), ROWS[[[1, 2]]])


def test_a_unix_socket_is_not_taken_from_a_node_that_is_alive_but_from_one_that_is_dead(failed_start, root, tmp_path):
    listen = f"unix://{tmp_path}/node.sock"
    with node_process(root, listen=listen) as node:
        assert "another process" in failed_start(root, "--listen", listen)
        node.stop(signal.SIGKILL)

    with node_process(root, listen=listen) as node, engram_client.connect_blocking(node.url) as store:
        assert np.array_equal(store.table("layer-2").fetch([3]), ROWS[[3]])


def test_tables_in_memory_are_served_from_memory(root):
    options = ("--in-memory", "layer-1", "--in-memory", "layer-2", "--huge-pages")
    with node_process(root, *options) as node, engram_client.connect_blocking(node.url) as store:
        assert [table.backend for table in store.tables()] == ["memory", "memory"]
        assert np.array_equal(store.table("layer-2").fetch([5, 19_999]), ROWS[[5, 19_999]])


def test_the_log_says_of_mapped_versions_alone_that_they_were_in_the_page_cache_when_opened(root):
    with node_process(root, "--in-memory", "layer-2") as node:
        opened = {name: logged_line(node, f"event='version opened' table='{name}'") for name in ("layer-1", "layer-2")}

    assert re.search(r"backend='mmap' all_in_page_cache_when_opened=(True|False)$", opened["layer-1"])
    assert opened["layer-2"].endswith("backend='memory'")


def logged_line(node, text):
    assert node.logged(text), node.log
    return next(line for line in node.log.splitlines() if text in line)


def test_a_port_in_use_is_an_error_that_names_it(failed_start, root):
    with node_process(root) as node:
        assert f"cannot listen on {node.address}" in failed_start(root, "--listen", node.address)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"cannot listen on {address}" in failed_start(root, "--listen", address)


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:99999", "unix://relative"])
def test_an_address_that_is_none_is_an_error(failed_start, root, listen):
    assert listen in failed_start(root, "--listen", listen)


@pytest.mark.parametrize("option", ["--listen", "--metrics-listen", "--admin-listen", "--health-listen"])
def test_an_address_that_is_none_is_told_with_its_option(failed_start, root, option):
    assert f"error: {option} must be HOST:PORT" in failed_start(root, option, "9464")


def test_options_of_a_cluster_without_a_cluster_are_refused(failed_start, root):
    error = failed_start(root, "--node-id", "a", "--replicas", "2")

    assert error == "error: without --cluster, --node-id, --replicas would mean nothing: give --cluster, too"


def test_all_that_is_wrong_with_the_settings_is_said_at_once(failed_start, root):
    error = failed_start(root, "--listen", "nowhere", "--pin-cores", "0", "--numa-nodes", "0", "--node-id", "a")

    assert "without --cluster, --node-id would" in error
    assert "give --pin-cores or --numa-nodes, not both" in error
    assert "listen must be HOST:PORT with a port of 0 to 65535, or unix:///PATH, got 'nowhere'" in error


def test_a_data_root_that_is_not_there_is_an_error_that_names_it(failed_start, tmp_path):
    assert f"{tmp_path}/nowhere" in failed_start(tmp_path / "nowhere", "--listen", "127.0.0.1:0")


def test_a_table_to_load_that_is_not_there_is_an_error_that_names_it(failed_start, root):
    assert "layer-7" in failed_start(root, "--listen", "127.0.0.1:0", "--in-memory", "layer-7")


def test_a_truncated_file_is_named_at_start_up_with_both_sizes(tmp_path):
    write_table(tmp_path / "root", "layer-1", ROWS[:100])
    [data] = (tmp_path / "root").rglob("rows.bin")
    with data.open("r+b") as file:
        file.truncate(1000)

    command = [sys.executable, "-m", "store_server", "serve", str(tmp_path / "root"), "--listen", "127.0.0.1:0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    for fact in (str(data), "layer-1", "26400", "1000"):
        assert fact in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_nodes_may_serve_one_data_root(root):
    with node_process(root) as one, node_process(root) as other:
        for node in (one, other):
            with engram_client.connect_blocking(node.url) as store:
                assert np.array_equal(store.table("layer-1").fetch([8]), ROWS[[8]])


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    """Publishing a version makes the node write to its log while it follows the data root."""
    write_table(tmp_path / "root", "layer-1", ROWS)
    reading, log = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "store_server", "serve", str(tmp_path / "root"), "--listen", "127.0.0.1:0"]
    node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    os.close(log)
    try:
        address = node.stdout.readline().removeprefix("listening on ").strip()
        with engram_client.connect_blocking(f"grpc://{address}", timeout=30) as store:
            for rows in (ROWS[::-1].copy(), ROWS[:100].copy()):
                version = write_table(tmp_path / "root", "layer-1", rows)
                table = store.table("layer-1", version=version)

                assert np.array_equal(table.fetch([7]), rows[[7]])
        node.terminate()
        assert node.wait(60) == 0
    finally:
        node.kill()
        node.wait(60)
        node.stdout.close()

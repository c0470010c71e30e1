"""A node of several worker processes: how it starts, shares memory, replaces what dies, and stops."""

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub

ROWS = random_rows(100_000, 264)
TABLE_KIB = ROWS.nbytes / 1024
ALL = np.arange(len(ROWS)).reshape(10, -1)
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("workers") / "root"
    write_table(root, "held", ROWS)
    write_table(root, "mapped", ROWS)
    write_table(root, "lmdb", ROWS, backend="lmdb")
    return root


@pytest.fixture(scope="module")
def node(root):
    """Two workers, a core each where there are two."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    pinned = ("--pin-cores", ",".join(map(str, cores))) if len(cores) == 2 else ()
    with node_process(root, "--workers", "2", "--in-memory", "held", *pinned) as node:
        yield node


def workers_of(node) -> dict[int, tuple[str, int]]:
    """Address and process of each worker, the latest that the log names."""
    assert node.logged("event='worker ready' worker=1 ")
    found = re.findall(r"event='worker (?:ready|replaced)' worker=(\d+) address='([^']+)' pid=(\d+)", node.log)
    return {int(number): (address, int(pid)) for number, address, pid in found}


def lookup(address, table, rows, version=""):
    """Ask one worker, and no other."""
    with grpc.insecure_channel(address) as channel:
        request = LookupRequest(table=table, rows=rows, version=version)
        reply = LookupServiceStub(channel).Lookup(request, timeout=PATIENCE_SECONDS)
    return reply.version, np.frombuffer(reply.rows, np.uint8).reshape(len(rows), -1)


def kib_of_maps(pid, name):
    """What a process has of a file in its memory: all of it, and its share of what others have too."""
    rss = pss = 0
    is_of_file = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_of_file = name in line
        elif is_of_file and line.startswith("Rss:"):
            rss += int(line.split()[1])
        elif is_of_file and line.startswith("Pss:"):
            pss += int(line.split()[1])
    return rss, pss


def has_ended(pid):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize(("table", "file"), [("held", "memfd:"), ("mapped", "rows.bin"), ("lmdb", "rows.lmdb")])
def test_workers_share_one_copy_of_a_table(node, table, file):
    workers = workers_of(node)
    for address, _ in workers.values():
        for rows in ALL:
            assert np.array_equal(lookup(address, table, rows)[1], ROWS[rows])

    in_ram = [kib_of_maps(pid, file) for _, pid in workers.values()]

    assert len(in_ram) == 2
    assert all(rss >= 0.9 * TABLE_KIB for rss, _ in in_ram)
    assert sum(pss for _, pss in in_ram) <= 1.2 * TABLE_KIB


def test_each_worker_runs_on_its_part_of_the_cores(node):
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("needs two cores")

    for number, (_, pid) in workers_of(node).items():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            assert os.sched_getaffinity(int(thread.name)) == {cores[number]}


def test_clients_are_told_of_all_workers_and_use_them(node):
    async def fetch():
        async with engram_client.connect(node.url, timeout=PATIENCE_SECONDS) as store:
            table = await store.table("held")
            while not all(established(address) for address, _ in workers_of(node).values()):
                assert np.array_equal(await table.fetch(ALL[0]), ROWS[ALL[0]])

    asyncio.run(asyncio.wait_for(fetch(), PATIENCE_SECONDS))


def established(address):
    """Tell whether somebody of this host is connected to a port."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    tables = Path("/proc/net/tcp"), Path("/proc/net/tcp6")  # gRPC dials the one kind from sockets of the other
    lines = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return any(fields[2].endswith(port) and fields[3] == "01" for fields in lines)


def test_workers_serve_the_same_version_after_a_publication(node, root):
    rows = random_rows(5_000, 264, seed=5)

    version = write_table(root, "published", rows)

    with engram_client.connect_blocking(node.url, timeout=PATIENCE_SECONDS) as store:
        table = store.table("published", version=version)
        pending = [table.prefetch(range(5_000)) for _ in range(20)]
        for some in pending:
            assert np.array_equal(some.result(), rows)


def test_a_killed_worker_costs_no_fetch_and_is_replaced_with_the_same_memory(root):
    with (
        node_process(root, "--workers", "2", "--in-memory", "held") as node,
        engram_client.connect_blocking(node.url, timeout=PATIENCE_SECONDS) as store,
    ):
        before, table = workers_of(node), store.table("held")
        stop, fetched, failed = threading.Event(), [], []
        some = ALL[0, :500]  # and a pause between: the new worker needs the cores, too

        def keep_fetching():
            try:
                while not stop.wait(0.002):
                    assert np.array_equal(table.fetch(some), ROWS[some])
                    fetched.append(1)
            except BaseException as error:  # for the test to see
                failed.append(error)

        fetching = [threading.Thread(target=keep_fetching) for _ in range(3)]
        for thread in fetching:
            thread.start()
        for number, (_, pid) in before.items():
            os.kill(pid, signal.SIGKILL)
            assert node.logged(f"event='worker replaced' worker={number} ")
        stop.set()
        for thread in fetching:
            thread.join(PATIENCE_SECONDS)
        after = workers_of(node)

        assert failed == []
        assert fetched
        assert [address for address, _ in after.values()] == [address for address, _ in before.values()]
        assert not {pid for _, pid in after.values()} & {pid for _, pid in before.values()}
        for address, _ in after.values():
            for rows in ALL:
                assert np.array_equal(lookup(address, "held", rows)[1], ROWS[rows])
        in_ram = [kib_of_maps(pid, "memfd:") for _, pid in after.values()]
        assert all(rss >= 0.9 * TABLE_KIB for rss, _ in in_ram)
        assert sum(pss for _, pss in in_ram) <= 1.2 * TABLE_KIB
        assert node.stop() == 0


def test_a_signal_lets_all_workers_finish_what_is_under_way(root, tmp_path):
    ids = np.random.default_rng(0).integers(0, len(ROWS), 200_000)
    with (
        node_process(root, "--workers", "2", listen=f"unix://{tmp_path}/node.sock") as node,
        engram_client.connect_blocking(node.url, timeout=PATIENCE_SECONDS) as store,
    ):
        assert node.address == f"unix://{tmp_path}/node.sock"
        for address in (f"unix:{tmp_path}/node.sock", f"unix:{tmp_path}/node.sock.1"):
            assert np.array_equal(lookup(address, "mapped", [3])[1], ROWS[[3]])
        table = store.table("mapped")
        pending = [table.prefetch(ids) for _ in range(4)]
        assert np.array_equal(pending[0].result(), ROWS[ids])

        node.process.send_signal(signal.SIGTERM)

        for rows in pending[1:]:
            assert np.array_equal(rows.result(), ROWS[ids])
        assert node.wait() == 0
    assert all(has_ended(pid) for _, pid in workers_of(node).values())


def test_workers_do_not_outlive_a_parent_that_was_killed(root):
    with node_process(root, "--workers", "2") as node:
        workers = workers_of(node)
        watched = [os.pidfd_open(pid) for _, pid in workers.values()]
        os.kill(node.process.pid, signal.SIGKILL)

        for worker in watched:
            assert ends(worker)
            os.close(worker)


def ends(pidfd):
    return select.select([pidfd], [], [], PATIENCE_SECONDS)[0] == [pidfd]


def test_a_port_in_use_that_a_worker_needs_is_an_error_that_names_it(root):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        command = [sys.executable, "-m", "store_server", "serve", str(root), "--workers", "2"]
        command += ["--listen", f"127.0.0.1:{port - 1}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"error: worker 1 of 2: cannot listen on 127.0.0.1:{port}")

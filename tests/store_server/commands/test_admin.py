"""`engram-store admin`: real nodes, of one process and of several, seen and changed while they run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from functools import partial

import pytest
from support.credentials import CredentialsOnDisk
from support.network import Loopback
from support.processes import node_process
from support.real_cluster import real_cluster
from support.rows import random_rows
from support.steady_load import SteadyLoad
from support.tables import write_table

import engram_client
from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.node_transport import NodeTransport
from engram_client.store import Store
from store_server.storage import DataRoot
from store_server.storage.checkpoint import SyntheticCheckpoint, write_checkpoint

ROWS = random_rows(1000, 64)
PATIENCE_SECONDS = 60


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return tmp_path / "root"


def taking_changes(node) -> str:
    """The URL of the address for changes, the latest that the log names."""
    assert node.logged("event='taking changes'")
    return "grpc://" + re.findall(r"event='taking changes'[^\n]*address='([^']+)'", node.log)[-1]


def processes(run, url, *options):
    """What each process says of itself, by its address."""
    found = run("admin", url, "status", "--json", *options)
    assert found.status == 0, found.err
    return {each["address"]: each["status"] for each in json.loads(found.out)["processes"]}


def test_status_names_a_nodes_state_limits_and_tables(run, root):
    with node_process(root) as node:
        shown = run("admin", node.url, "status")

    assert shown.status == 0
    first, limits, table = shown.out.splitlines()
    assert first.startswith(f"{node.address}  ready  up ")
    # The call itself is one.
    assert "max-queued 1/4,096" in limits
    assert table.startswith("  t  1,000 rows  64,000 bytes, ")
    assert DataRoot.open(root).current_version("t")[:12] in table


def test_nobody_there_and_no_node_are_errors_of_one_line(run, root):
    nobody = run("admin", "grpc://127.0.0.1:1", "status", "--timeout", 1)
    on_disk = run("admin", f"file://{root}", "status")
    both = run("admin", "grpc://127.0.0.1:1,127.0.0.1:2", "drain")

    assert (nobody.status, on_disk.status, both.status) == (1, 1, 1)
    assert "1 of 1 processes did not answer" in nobody.error
    assert "has no node" in on_disk.error
    assert "one node at a time" in both.error


def test_a_checkpoint_is_attached_and_dropped_again(run, root, tmp_path):
    write_checkpoint(tmp_path / "ck", SyntheticCheckpoint(scale=1e-5))
    with node_process(root, "--allow-source", f"file://{tmp_path}") as node:
        attached = run("admin", node.url, "attach", "v41", "--checkpoint", tmp_path / "ck")
        seen = run("admin", node.url, "status")
        dropped = run("admin", node.url, "drop", "v41/layer-1", "--all")
        again = run("admin", node.url, "drop", "v41/layer-1", "--all")
        current = run("admin", node.url, "drop", "t", DataRoot.open(root).current_version("t"))
        unclear = run("admin", node.url, "drop", "t")

    assert attached.status == 0, attached.err
    assert "table    v41/layer-14" in attached.out
    assert "v41/layer-1 " in seen.out
    assert (dropped.status, dropped.out) == (0, "dropped v41/layer-1 with all its versions\n")
    assert "no table 'v41/layer-1'" in again.error
    assert "is the current one" in current.error
    assert unclear.status == 2
    assert DataRoot.open(root).table_names() == ["t", "v41/layer-14"]


def test_a_token_whose_rights_do_not_reach_is_told_what_it_takes(run, root, tmp_path):
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    (tmp_path / "token").write_text(written.add("reader").text())
    with node_process(root, "--tokens", str(written.path)) as node:
        refused = run("admin", node.url, "drain", "--token-file", tmp_path / "token")
        seen = processes(run, node.url, "--token-file", tmp_path / "token")

    assert "reader may not drain this node: that takes the scope admin on *" in refused.error
    assert not seen[node.address]["draining"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_node_that_was_drained_and_then_stopped_under_load_loses_no_lookup(run, tmp_path, workers):
    """Its clients have another to go to, and nobody asks it any more when the command returns."""
    network = Loopback(2, ports_a_node=workers)
    options = ("--workers", str(workers), "--drain-seconds", "60")
    with real_cluster(tmp_path, 2, {"t": ROWS}, options=options, network=network) as cluster:
        transport = ClusterTransport(cluster.shard_map, partial(NodeTransport, retries=False))
        async with Store(transport, PATIENCE_SECONDS) as store, SteadyLoad(await store.table("t"), ROWS, 8) as load:
            await load.go_on(50)
            leaving = cluster.process(0)
            drained = await asyncio.to_thread(run, "admin", leaving.url, "drain", "--wait")
            assert drained.status == 0, drained.err
            await load.go_on(50)
            assert await asyncio.to_thread(cluster.stop, 0) == 0
            await load.go_on(50)

    assert load.wrong == []
    assert "nobody asks any more" in leaving.log
    assert "clients ask still" not in leaving.log


def test_all_workers_drain_and_so_does_one_that_takes_the_place_of_another(run, root):
    with node_process(root, "--workers", "3", "--admin-listen", "127.0.0.1:0") as node:
        assert node.logged("event='worker ready' worker=2 ")
        before = processes(run, taking_changes(node))
        assert len(before) == 3
        assert not any(each["draining"] for each in before.values())

        drained = run("admin", taking_changes(node), "drain", "--wait")
        assert drained.status == 0, drained.err
        assert drained.out.endswith("stop it now\n")
        assert all(each["draining"] and each["quiet"] for each in processes(run, taking_changes(node)).values())

        first = next(iter(before.values()))
        was_there = node.log.count("event='taking changes'")
        os.kill(first["pid"], signal.SIGKILL)
        assert node.logged("event='worker replaced' worker=0 ")
        assert node.log.count("event='taking changes'") == was_there + 1
        after = processes(run, taking_changes(node))

        assert len(after) == 3
        assert first["pid"] not in {each["pid"] for each in after.values()}
        assert all(each["draining"] for each in after.values())
        assert node.stop() == 0


def test_a_worker_that_is_asked_where_lookups_are_has_all_of_them_drained(run, root):
    with node_process(root, "--workers", "2") as node:
        assert node.logged("event='worker ready' worker=1 ")
        (second,) = re.findall(r"event='worker ready' worker=1 address='([^']+)'", node.log)

        assert run("admin", f"grpc://{second}", "drain").status == 0

        found = processes(run, node.url)
        assert found.keys() == {node.address, second}
        assert all(each["draining"] for each in found.values())


def test_who_is_waited_for_in_vain_is_named(run, root):
    with node_process(root) as node, engram_client.connect_blocking(node.url) as store:
        table, is_over = store.table("t"), threading.Event()

        def ask():
            while not is_over.is_set():
                table.fetch([1])

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            drained = run("admin", node.url, "drain", "--wait", "--timeout", 1)
        finally:
            is_over.set()
            asking.join()

    assert drained.status == 1
    assert "after 1 s 1 of 1 processes are asked still" in drained.error
    assert node.address in drained.error


def test_an_address_for_changes_that_others_reach_takes_callers_that_are_known(run, root, tmp_path):
    refused = run("config", "check", root, "--admin-listen", "0.0.0.0:0", "--insecure")
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    sound = run("config", "check", root, "--admin-listen", "0.0.0.0:0", "--insecure", "--tokens", written.path)
    same = run("config", "check", root, "--listen", "127.0.0.1:4711", "--admin-listen", "127.0.0.1:4711")

    assert refused.status == 1
    assert "0.0.0.0:0 can be reached from other hosts" in refused.out
    assert sound.out == "settings are sound\n"
    assert "--admin-listen: --listen has 127.0.0.1:4711, too" in same.out

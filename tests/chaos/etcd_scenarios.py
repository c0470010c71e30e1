"""What befalls a cluster whose map is in etcd, under load: a node is lost for good, etcd dies, all start without it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from chaos.etcd_findings import EtcdFindings, find_with_etcd
from chaos.findings import Moment
from chaos.load import Load, load
from chaos.load_client import ROW_BYTES, LoadSettings
from support.published_cluster import NODE_OPTIONS, PublishedCluster, published_cluster
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_store.shard_map import ShardMap

NUM_NODES, REPLICAS = 4, 2
TABLE, TABLE_SEED, TABLE_ROWS, TABLE_SET = "m/layer-1", 1, 160_000, "model"
_OTHER = "other"  # table and set
_LOOK_SECONDS = 0.05
_LIMIT_SECONDS = 120.0  # for what must happen at all


@dataclass
class EtcdScene:
    """A cluster, a data root to publish from, and a load, and what was done to them."""

    cluster: PublishedCluster
    root: Path
    load: Load
    seconds: float
    """That a disturbance lasts, and what comes after it."""
    started: contextlib.ExitStack
    """Ends what the scenario starts."""
    moments: list[Moment] = field(default_factory=list)
    told: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        self.moments.append(Moment(what, time.monotonic()))

    def check(self, *, is_right: bool, else_fault: str) -> None:
        if not is_right:
            self.faults.append(else_fault)

    def begin_change(self, version: str) -> subprocess.Popen[str]:
        """Ask for a change of the map that moves no range of the table under load: a version of another one."""
        return self.cluster.begin_publish(
            self.root, f"{_OTHER}@{version}", "--set", _OTHER, "--timeout", _LIMIT_SECONDS
        )

    def write_change(self) -> str:
        """Return a version to ask for that the cluster does not have."""
        return write_table(self.root, _OTHER, random_rows(1000, ROW_BYTES))


def lose_for_good(scene: EtcdScene) -> None:
    """Kill the node that is asked most; R is restored on the others."""
    cluster = scene.cluster
    lost = scene.load.busiest([node.address for node in cluster.nodes])
    witness = (lost + 1) % NUM_NODES
    missing = sum(f"n{lost}" in holders for holders in _ranges(cluster.map_at(witness)))
    scene.note(f"SIGKILL of node {lost}, which stays away")
    cluster.nodes[lost].stop(signal.SIGKILL)
    is_restored = _within_limit(lambda: _is_held_without(cluster.map_at(witness), f"n{lost}"))
    scene.note("R restored on the others" if is_restored else "R not restored")
    scene.check(is_right=is_restored, else_fault=f"R was not restored within {_LIMIT_SECONDS:g} s")
    scene.told |= {
        "ranges": len(_ranges(cluster.map_at(witness))),
        "ranges_copied": missing,
        "restored_after_seconds": round(scene.moments[-1].when - scene.moments[-2].when, 2) if is_restored else None,
    }
    scene.load.go_on(scene.seconds)


def kill_etcd(scene: EtcdScene) -> None:
    """Kill etcd and ask for a change of the map meanwhile; the map stays, and the change happens afterwards."""
    cluster = scene.cluster
    before = cluster.map_at(0)
    scene.note("SIGKILL of etcd")
    cluster.etcd.kill()
    version = scene.write_change()
    change = scene.begin_change(version)
    scene.load.go_on(scene.seconds)
    _check_same_epoch(scene, before)
    does_wait = change.poll() is None
    scene.told["change_asked_for_meanwhile"] = "waits" if does_wait else f"fails: {_said(change).splitlines()[-1]}"
    scene.note("start of etcd")
    cluster.etcd.start()
    _make_change(scene, version, change if does_wait else None)
    scene.load.go_on(scene.seconds)
    _check_same_ranges(scene, before)


def restart_all_without_etcd(scene: EtcdScene) -> None:
    """Kill etcd, then all nodes at once, and start the nodes again: they serve by the last map."""
    cluster = scene.cluster
    before = cluster.map_at(0)
    scene.note("SIGKILL of etcd")
    cluster.etcd.kill()
    scene.load.go_on(scene.seconds)
    scene.note("SIGKILL of all nodes")
    for node in cluster.nodes:
        node.stop(signal.SIGKILL)
    scene.note("start of all nodes, at their addresses")
    with ThreadPoolExecutor() as threads:
        cluster.nodes[:] = threads.map(
            lambda number: scene.started.enter_context(cluster.node(number, listen=cluster.nodes[number].address)),
            range(NUM_NODES),
        )
    scene.note("all nodes listen")
    scene.check(is_right=_new_client_reads(cluster), else_fault="a new client read wrong rows")
    scene.load.go_on(scene.seconds)
    _check_same_epoch(scene, before)
    scene.note("start of etcd")
    cluster.etcd.start()
    _make_change(scene, scene.write_change(), None)
    scene.load.go_on(scene.seconds)
    _check_same_ranges(scene, before)


ETCD_SCENARIOS: dict[str, Callable[[EtcdScene], None]] = {
    "etcd-killed": kill_etcd,
    "all-restarted-without-etcd": restart_all_without_etcd,
    "lost-for-good": lose_for_good,
}
# As long as etcd is to be away at full length: a minute, where other disturbances last ten seconds.
TIMES_LONGER = {"etcd-killed": 6.0}


@contextlib.contextmanager
def etcd_cluster(directory: Path) -> Iterator[tuple[PublishedCluster, Path]]:
    """Run nodes and etcd, with the table published; with the data root that it comes from."""
    root = directory / "root"
    write_table(root, TABLE, random_rows(TABLE_ROWS, ROW_BYTES, TABLE_SEED))
    with published_cluster(directory, NUM_NODES, "--replicas", str(REPLICAS)) as cluster:
        publisher = cluster.begin_publish(root, TABLE, "--set", TABLE_SET, "--replicas", REPLICAS)
        said = _said(publisher)
        if publisher.returncode != 0:
            raise AssertionError(f"publish failed: {said}")
        cluster.until(lambda: all(_ranges(cluster.map_at(number)) for number in range(NUM_NODES)))
        yield cluster, root


def run_with_etcd(
    name: str,
    cluster: PublishedCluster,
    root: Path,
    seconds: float,
    *,
    warm_up_seconds: float = 2.0,
    **settings: float,
) -> EtcdFindings:
    """Let something befall a cluster under a load with such settings; returns what became of its fetches."""
    on_table = LoadSettings(
        seed_address=cluster.nodes[0].address,
        table=TABLE,
        table_rows=TABLE_ROWS,
        table_seed=TABLE_SEED,
        **settings,
    )
    with contextlib.ExitStack() as started, load(on_table) as running:
        scene = EtcdScene(cluster, root, running, seconds, started)
        running.go_on(warm_up_seconds)
        scene.note("calm")
        running.go_on(seconds)
        ETCD_SCENARIOS[name](scene)
        asked = running.finish()
    return find_with_etcd(name, NODE_OPTIONS, running.fetches, asked, scene.moments, scene.told, scene.faults)


def _ranges(shard_map: ShardMap) -> list[set[str]]:
    """Return who holds each range of the table, none if it is not known yet."""
    versions = [version for version in shard_map.current_versions() if version.table == TABLE]
    return [
        {shard_map.nodes[holder].id for holder in shard.holders} for version in versions for shard in version.shards
    ]


def _is_held_without(shard_map: ShardMap, node_id: str) -> bool:
    return all(len(holders - {node_id}) >= REPLICAS for holders in _ranges(shard_map))


def _check_same_epoch(scene: EtcdScene, before: ShardMap) -> None:
    epochs = [scene.cluster.map_at(number).epoch for number in range(NUM_NODES)]
    scene.check(is_right=set(epochs) == {before.epoch}, else_fault=f"epochs {epochs} instead of {before.epoch}")


def _check_same_ranges(scene: EtcdScene, before: ShardMap) -> None:
    moved = sum(then != now for then, now in zip(_ranges(before), _ranges(scene.cluster.map_at(0)), strict=True))
    scene.told["ranges_moved"] = moved
    scene.check(is_right=not moved, else_fault=f"{moved} ranges have moved")


def _make_change(scene: EtcdScene, version: str, begun: subprocess.Popen[str] | None) -> None:
    """See that a change of the map happens: the one that was begun, if it still waits, or the same asked for now."""
    began = time.monotonic()
    if begun is not None:
        _said(begun)
    if begun is None or begun.returncode != 0:
        begun = scene.begin_change(version)
        said = _said(begun)
        scene.check(is_right=begun.returncode == 0, else_fault=f"publish failed: {said}")
    is_there = _within_limit(lambda: scene.cluster.map_at(0).current(_OTHER) == version)
    scene.check(is_right=is_there, else_fault="the map does not show the change that was asked for")
    scene.note("the map was changed")
    scene.told["changed_after_seconds"] = round(time.monotonic() - began, 2)


def _new_client_reads(cluster: PublishedCluster) -> bool:
    ids = np.arange(0, TABLE_ROWS, 7)
    with engram_client.connect_blocking(cluster.grpc_url) as store:
        return np.array_equal(store.table(TABLE).fetch(ids), random_rows(TABLE_ROWS, ROW_BYTES, TABLE_SEED)[ids])


def _within_limit(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _LIMIT_SECONDS
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _said(publisher: subprocess.Popen[str]) -> str:
    """Wait for its end; returns what it printed."""
    return publisher.communicate(timeout=_LIMIT_SECONDS)[0]

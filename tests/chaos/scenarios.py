"""What befalls a cluster under load: of four nodes that hold each row twice, one is lost, silent, far or unreliable."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaos.findings import Findings, Moment, find
from chaos.load import Load, load
from chaos.load_client import ROW_BYTES, LoadSettings
from support.network import BadNetwork
from support.network_namespaces import namespaces, namespaces_are_permitted
from support.network_proxies import proxies
from support.real_cluster import RealCluster, real_cluster
from support.rows import random_rows

NUM_NODES, TABLE, TABLE_SEED, TABLE_ROWS = 4, "m/layer-1", 1, 40_000
DELAY_SECONDS, LOSS = 0.2, 0.01


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How long a scenario lasts, in seconds, and how much of it happens."""

    warm_up: float = 5.0
    calm: float = 20.0
    disturbed: float = 10.0
    after: float = 10.0
    nodes_killed: int = NUM_NODES
    """Where one is killed, or restarted, after another."""


@dataclass
class Scene:
    """A cluster, its network and a load upon it, and what was done to them."""

    cluster: RealCluster
    network: BadNetwork
    load: Load
    extent: Extent
    moments: list[Moment] = field(default_factory=list)

    def busiest(self) -> int:
        return self.load.busiest(self.cluster.addresses)

    def note(self, what: str) -> None:
        self.moments.append(Moment(what, time.monotonic()))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    says: str
    happens: Callable[[Scene], None]
    is_wired: bool = False
    """Whether links have to be such that they can be impaired."""
    needs_namespaces: bool = False


def kill(scene: Scene) -> None:
    _kill_and_start(scene, scene.busiest())


def kill_one_after_another(scene: Scene) -> None:
    for number in range(scene.extent.nodes_killed):
        _kill_and_start(scene, number)


def restart_one_after_another(scene: Scene) -> None:
    for number in range(scene.extent.nodes_killed):
        scene.note(f"SIGTERM of node {number}")
        code = scene.cluster.stop(number)
        scene.note(f"node {number} has ended with exit code {code}")
        scene.load.go_on(scene.extent.disturbed)
        _start(scene, number)


def stop(scene: Scene) -> None:
    victim = scene.busiest()
    scene.note(f"SIGSTOP of node {victim}")
    scene.cluster.signal(victim, signal.SIGSTOP)
    scene.load.go_on(scene.extent.disturbed)
    scene.note("SIGCONT")
    scene.cluster.signal(victim, signal.SIGCONT)
    scene.load.go_on(scene.extent.after)


def cut(scene: Scene) -> None:
    victim = scene.busiest()
    scene.note(f"link of node {victim} cut")
    scene.network.cut(victim)
    scene.load.go_on(scene.extent.disturbed)
    scene.note("mended")
    scene.network.mend(victim)
    scene.load.go_on(scene.extent.after)


def delay(scene: Scene) -> None:
    _impair(scene, f"{1e3 * DELAY_SECONDS:.0f} ms added", round_trip_seconds=DELAY_SECONDS)


def lose(scene: Scene) -> None:
    _impair(scene, f"{LOSS:.0%} lost", loss=LOSS)


def _kill_and_start(scene: Scene, number: int) -> None:
    scene.note(f"SIGKILL of node {number}")
    scene.cluster.kill(number)
    scene.load.go_on(scene.extent.disturbed)
    _start(scene, number)


def _start(scene: Scene, number: int) -> None:
    scene.note(f"start of node {number}")
    scene.cluster.start(number)
    scene.note(f"node {number} listens")
    scene.load.go_on(scene.extent.after)


def _impair(scene: Scene, what: str, **how: float) -> None:
    victim = scene.busiest()
    scene.note(f"{what} on the way to node {victim}")
    scene.network.impair(victim, **how)
    scene.load.go_on(scene.extent.disturbed)
    scene.note("as before")
    scene.network.impair(victim)
    scene.load.go_on(scene.extent.after)


SCENARIOS = {
    "kill": Scenario(says="a node is killed and started again", happens=kill),
    "kill-each": Scenario(
        says="one node after another is killed, each back before the next", happens=kill_one_after_another
    ),
    "restart-each": Scenario(
        says="one node after another is told to stop and started again", happens=restart_one_after_another
    ),
    "stop": Scenario(says="a node is stopped and goes on", happens=stop),
    "cut": Scenario(says="the link of a node is down and comes back", happens=cut),
    "delay": Scenario(says="200 ms are added to the round trip to a node", happens=delay, is_wired=True),
    "loss": Scenario(
        says="1 % of the packets to and from a node are lost", happens=lose, is_wired=True, needs_namespaces=True
    ),
}


@contextlib.contextmanager
def network_for_chaos(*, is_wired: bool) -> Iterator[BadNetwork]:
    """Give each node a namespace of its own where that is permitted, else a proxy.

    All links are wired or none: one that is a little slower than the others would have its node asked for less.
    """
    if namespaces_are_permitted():
        with namespaces(NUM_NODES, wired=range(NUM_NODES) if is_wired else ()) as network:
            yield network
    else:
        with proxies(NUM_NODES) as network:
            yield network


@contextlib.contextmanager
def cluster_for_chaos(directory: Path, network: BadNetwork) -> Iterator[RealCluster]:
    tables = {TABLE: random_rows(TABLE_ROWS, ROW_BYTES, TABLE_SEED)}
    with real_cluster(directory, NUM_NODES, tables, replicas=2, network=network) as cluster:
        yield cluster


@contextlib.contextmanager
def load_on(cluster: RealCluster, network: BadNetwork, **settings: float) -> Iterator[Load]:
    """Run a load with such settings on the table of the cluster."""
    on_table = LoadSettings(
        seed_address=cluster.addresses[0], table=TABLE, table_rows=TABLE_ROWS, table_seed=TABLE_SEED, **settings
    )
    with load(on_table, network.client_prefix) as running:
        yield running


def run_scenario(name: str, cluster: RealCluster, network: BadNetwork, extent: Extent) -> Findings:
    """Disturb a cluster under load; returns what became of its fetches."""
    with load_on(cluster, network) as running:
        scene = Scene(cluster, network, running, extent)
        running.go_on(extent.warm_up)
        calm_from = time.monotonic()
        running.go_on(extent.calm)
        SCENARIOS[name].happens(scene)
        asked = running.finish()
    return find(name, type(network).__name__, running.fetches, asked, calm_from, scene.moments)

"""Clusters of three nodes, of which two hold each row, and each of which may be of either release."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from support.etcd import running_etcd
from support.network import Loopback
from support.processes import NodeProcess
from support.real_cluster import RealCluster
from support.tables import write_table
from upgrade.client import ROWS, TABLE
from upgrade.releases import Release

NUM_NODES = 3
DRAIN_OPTIONS = ("--drain-seconds", "60")
_PUBLISH_SECONDS = 120.0


class MixedCluster(Protocol):
    """Nodes by number."""

    @property
    def url(self) -> str:
        """What clients connect to."""
        ...

    def start(self, number: int, release: Release) -> None:
        """Start a node of a release on the data root that it had, and wait until it listens."""
        ...

    def stop(self, number: int) -> int:
        """Tell a node to stop, wait until it has, and return its exit code."""
        ...


class FileCluster:
    """One whose map is a file."""

    def __init__(self, directory: Path) -> None:
        self._network = _NodesOf(NUM_NODES)
        tables = {TABLE: ROWS}
        self._cluster = RealCluster(directory, NUM_NODES, tables, 2, DRAIN_OPTIONS, self._network)

    @property
    def url(self) -> str:
        return self._cluster.url

    def start(self, number: int, release: Release) -> None:
        self._network.releases[number] = release
        self._cluster.start(number)

    def stop(self, number: int) -> int:
        return self._cluster.stop(number)

    def close(self) -> None:
        self._cluster.close()


class _NodesOf(Loopback):
    """Runs each node where Python finds its release."""

    def __init__(self, num_nodes: int) -> None:
        super().__init__(num_nodes)
        self.releases: dict[int, Release] = {}

    def prefix(self, number: int) -> Sequence[str]:
        return self.releases[number].prefix


class EtcdCluster:
    """One that agrees upon its map in etcd, to which the table is published once it runs."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        self._directory = directory
        self._agreed_in = f"etcd://{endpoint}/upgrade"
        self._network = Loopback(NUM_NODES)
        self._nodes: dict[int, NodeProcess] = {}

    @property
    def url(self) -> str:
        return "grpc://" + ",".join(map(self._network.address, range(NUM_NODES)))

    def start(self, number: int, release: Release) -> None:
        options = ("--cluster", self._agreed_in, "--node-id", f"n{number}", *DRAIN_OPTIONS)
        # Who upgrades says from where nodes may copy, which the last release did not ask for.
        allowed = ("--allow-source=grpc://", "--allow-source=file:///") if release.name == "this" else ()
        listen, root = self._network.listen(number), self._directory / f"n{number}"
        self._nodes[number] = NodeProcess(root, *options, *allowed, listen=listen, prefix=release.prefix)

    def publish(self, release: Release) -> None:
        """Publish the table to the nodes, which copy it."""
        root = self._directory / "source"
        write_table(root, TABLE, ROWS)
        arguments = ["publish", str(root), TABLE, "--cluster", self._agreed_in, "--set", "model"]
        command = [*release.prefix, sys.executable, "-m", "store_server", *arguments]
        subprocess.run(command, check=True, timeout=_PUBLISH_SECONDS, stdout=subprocess.DEVNULL)

    def stop(self, number: int) -> int:
        return self._nodes.pop(number).stop()

    def close(self) -> None:
        for node in self._nodes.values():
            node.process.kill()
            node.wait()


@contextlib.contextmanager
def file_cluster(directory: Path, release: Release) -> Iterator[MixedCluster]:
    """Start nodes of one release with a map in a file."""
    with contextlib.closing(FileCluster(directory)) as cluster:
        _start_all(cluster, release)
        yield cluster


@contextlib.contextmanager
def etcd_cluster(directory: Path, release: Release) -> Iterator[MixedCluster]:
    """Start etcd and nodes of one release, and publish the table to them."""
    with (
        running_etcd(directory / "etcd") as etcd,
        contextlib.closing(EtcdCluster(directory, etcd.endpoint)) as cluster,
    ):
        _start_all(cluster, release)
        cluster.publish(release)
        yield cluster


def _start_all(cluster: MixedCluster, release: Release) -> None:
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda number: cluster.start(number, release), range(NUM_NODES)))

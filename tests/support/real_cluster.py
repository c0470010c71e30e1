"""Several real nodes, each in a process of its own, that know each other from a map in a file."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.network import Loopback, Network
from support.processes import NodeProcess
from support.tables import write_table

from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, TableSet, write_shard_map
from store_server.storage import DataRoot

CLUSTER = "test"


class RealCluster:
    """Nodes by number. Each has all of the tables; the map says who is asked for which rows.

    They are on one machine's loopback unless there is a network for them.
    """

    def __init__(
        self,
        directory: Path,
        num_nodes: int,
        tables: Mapping[str, NDArray[np.uint8]],
        replicas: int,
        options: Sequence[str] = (),
        network: Network | None = None,
    ) -> None:
        self._directory = directory
        self._options = options
        self._network = network or Loopback(num_nodes)
        self.addresses = [self._network.address(number) for number in range(num_nodes)]
        self.map_path = directory / "map.json"
        for number in range(num_nodes):
            for name, rows in tables.items():
                write_table(self.root(number), name, rows)
        self.shard_map = self._first_map(tables, replicas)
        self.map_path.write_text(write_shard_map(self.shard_map))
        self._processes: dict[int, NodeProcess] = {}

    @property
    def url(self) -> str:
        return "grpc://" + ",".join(self.addresses)

    @property
    def ports(self) -> list[int]:
        return [int(address.rpartition(":")[2]) for address in self.addresses]

    def root(self, number: int) -> Path:
        return self._directory / f"node-{number}"

    def start(self, number: int) -> int:
        """Start a node, and wait until it listens; returns its process id."""
        # Their network may be one of namespaces, which to a node are other hosts.
        options = ("--cluster", f"file://{self.map_path}", "--node-id", f"n{number}", *self._options)
        listen, prefix = self._network.listen(number), self._network.prefix(number)
        # Not as an option, which nodes of older releases do not know.
        plain_text = {} if "--tls-cert" in options else {"ENGRAM_SERVE_INSECURE": "1"}
        self._processes[number] = NodeProcess(
            self.root(number), *options, listen=listen, prefix=prefix, environment=plain_text
        )
        return self._processes[number].process.pid

    def process(self, number: int) -> NodeProcess:
        """Return the process of a node that was started."""
        return self._processes[number]

    def kill(self, number: int) -> None:
        """End a node as a power cut would."""
        self._processes.pop(number).stop(signal.SIGKILL)

    def stop(self, number: int) -> int:
        """Tell a node to stop, wait until it has, and return its exit code."""
        return self._processes.pop(number).stop(signal.SIGTERM)

    def signal(self, number: int, which: signal.Signals) -> None:
        self._processes[number].process.send_signal(which)

    def close(self) -> None:
        for process in self._processes.values():
            process.process.send_signal(signal.SIGCONT)
            process.stop(signal.SIGKILL)

    def _first_map(self, tables: Mapping[str, NDArray[np.uint8]], replicas: int) -> ShardMap:
        num_nodes = len(self.addresses)
        versions = []
        for name in tables:
            root = DataRoot.open(self.root(0))
            manifest = root.manifest(name, root.current_version(name))
            blocks_a_shard = -(-manifest.num_blocks // num_nodes)
            ends = [
                min((number + 1) * blocks_a_shard * manifest.block_rows, manifest.num_rows)
                for number in range(-(-manifest.num_blocks // blocks_a_shard))
            ]
            shards = [
                Shard(end_row=end, holders=tuple((number + each) % num_nodes for each in range(replicas)))
                for number, end in enumerate(ends)
            ]
            versions.append(
                ShardedVersion(
                    table=name,
                    version=manifest.version,
                    num_rows=manifest.num_rows,
                    row_bytes=manifest.row_bytes,
                    block_rows=manifest.block_rows,
                    shards=tuple(shards),
                )
            )
        return ShardMap(
            cluster=CLUSTER,
            epoch=1,
            replicas=replicas,
            nodes=tuple(Node(id=f"n{number}", address=address) for number, address in enumerate(self.addresses)),
            versions={version.key: version for version in versions},
            sets={"model": TableSet(name="model", current={version.table: version.version for version in versions})},
        )


@contextlib.contextmanager
def real_cluster(
    directory: Path,
    num_nodes: int,
    tables: Mapping[str, NDArray[np.uint8]],
    *,
    replicas: int = 2,
    options: Sequence[str] = (),
    network: Network | None = None,
) -> Iterator[RealCluster]:
    """Start the nodes; they are killed at the end."""
    cluster = RealCluster(directory, num_nodes, tables, replicas, options, network)
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(cluster.start, range(num_nodes)))
        yield cluster
    finally:
        cluster.close()

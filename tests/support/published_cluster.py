"""Real nodes that begin with nothing, with a real etcd, and `engram-store` to publish to them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from support.etcd import running_etcd
from support.processes import NodeProcess, node_process

from engram_store.shard_map import ShardMap
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.map_source import MapSourceFailed
from store_server.cluster.publication import living_cluster
from store_server.cluster.publishing import CannotPublish

PATIENCE_SECONDS = 60
NODE_OPTIONS = ("--lease-seconds", "1", "--lost-after", "3", "--all-lost-after", "600", "--keep-seconds", "1")


class PublishedCluster:
    """Nodes n0, n1, ... of the cluster at `url`."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        self.url = f"etcd://{endpoint}/prod"
        self.nodes: list[NodeProcess] = []
        self._directory = directory

    def root(self, number: int) -> Path:
        return self._directory / f"n{number}"

    @contextlib.contextmanager
    def node(self, number: int, *options: str) -> Iterator[NodeProcess]:
        """Run one more node as long as the block lasts."""
        arguments = ("--cluster", self.url, "--node-id", f"n{number}", *NODE_OPTIONS, *options)
        with node_process(self.root(number), *arguments) as node:
            yield node

    def map_when(self, is_right: Callable[[ShardMap], bool]) -> ShardMap:
        """Look at the map until it is right."""
        return asyncio.run(self._map_when(is_right))

    async def _map_when(self, is_right: Callable[[ShardMap], bool]) -> ShardMap:
        async with (
            living_cluster(ClusterConfig(url=self.url, node_id="test")) as cluster,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            while True:
                with contextlib.suppress(CannotPublish, MapSourceFailed):
                    found = await cluster.shard_map()
                    if is_right(found):
                        return found
                await asyncio.sleep(0.005)

    def begin_publish(self, root: Path, *arguments: object) -> subprocess.Popen[str]:
        """Start `engram-store publish`."""
        command = [sys.executable, "-m", "store_server", "publish", str(root), "--cluster", self.url]
        return subprocess.Popen(
            [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@contextlib.contextmanager
def published_cluster(directory: Path, num_nodes: int, *options: str) -> Iterator[PublishedCluster]:
    """Start etcd and nodes, and wait until all of them are in the map."""
    with running_etcd(directory / "etcd") as etcd, contextlib.ExitStack() as stack:
        cluster = PublishedCluster(directory, etcd.endpoint)
        for number in range(num_nodes):
            cluster.nodes.append(stack.enter_context(cluster.node(number, *options)))
        cluster.map_when(lambda found: len(found.nodes) == num_nodes)
        yield cluster

"""Real nodes that begin with nothing, with a real etcd, and `engram-store` to publish to them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from aetcd import rpc
from support.etcd import Etcd, running_etcd
from support.processes import NodeProcess, node_process

from engram_store.shard_map import ShardMap, from_message
from engram_store.v1.cluster_service_pb2 import GetShardMapRequest
from engram_store.v1.cluster_service_pb2_grpc import ClusterServiceStub
from store_server.cluster.agreement.etcd_connection import prefix_end
from store_server.cluster.agreement.etcd_url import EtcdUrl
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.living_cluster import living_cluster
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.registration import NodeRegistration
from store_server.storage import DataRoot, StorageError
from store_server.storage.held_blocks import held_blocks

PATIENCE_SECONDS = 60
NODE_OPTIONS = ("--lease-seconds", "1", "--lost-after", "3", "--all-lost-after", "600", "--keep-seconds", "1")
RETIRE_AFTER_SECONDS = 2


class PublishedCluster:
    """Nodes n0, n1, ... of the cluster at `url`."""

    def __init__(self, directory: Path, etcd: Etcd) -> None:
        self.etcd = etcd
        self.url = f"etcd://{etcd.endpoint}/prod"
        self.nodes: list[NodeProcess] = []
        self._directory = directory

    def root(self, number: int) -> Path:
        return self._directory / f"n{number}"

    @contextlib.contextmanager
    def node(self, number: int, *options: str, listen: str = "127.0.0.1:0") -> Iterator[NodeProcess]:
        """Run one more node as long as the block lasts, or one that has ended once more."""
        sources = [f"--allow-source={prefix}" for prefix in ("grpc://", "http://", "file:///")]
        arguments = ("--cluster", self.url, "--node-id", f"n{number}", *sources, *NODE_OPTIONS, *options)
        arguments += ("--retire-after", str(RETIRE_AFTER_SECONDS))
        with node_process(self.root(number), *arguments, listen=listen) as node:
            yield node

    @property
    def grpc_url(self) -> str:
        """What clients connect to."""
        return "grpc://" + ",".join(node.address for node in self.nodes)

    @property
    def bytes_used(self) -> dict[str, int]:
        """What each node says that it has on its disk."""
        return {name: each.bytes_used for name, each in asyncio.run(self._living()).items()}

    @property
    def disk_failures(self) -> dict[str, str]:
        """Why the disks of nodes take no more rows, of those that do not."""
        return {name: each.disk_failure for name, each in asyncio.run(self._living()).items() if each.disk_failure}

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a function returns what is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} seconds"
            time.sleep(0.005)

    def blocks_held(self, versions: Mapping[str, str]) -> int:
        """How many blocks of versions, by table, the nodes have on their disks."""
        num_blocks = 0
        for number in range(len(self.nodes)):
            root = DataRoot.open(self.root(number))
            for item in versions.items():
                with contextlib.suppress(StorageError):
                    num_blocks += int(held_blocks(root.stored_version(*item)).sum())
        return num_blocks

    async def _living(self) -> Mapping[str, NodeRegistration]:
        async with living_cluster(ClusterConfig(url=self.url, node_id="test")) as cluster:
            return await cluster.living()

    def map_at(self, number: int) -> ShardMap:
        """Return the map that a node hands out, whatever etcd has."""
        with grpc.insecure_channel(self.nodes[number].address) as channel:
            stub = ClusterServiceStub(channel)
            return from_message(stub.GetShardMap(GetShardMapRequest(), timeout=PATIENCE_SECONDS).map)

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

    def end_leases_of_publishers(self) -> None:
        """Let nodes see now what they would see when nobody renews these leases: those who publish are away."""
        prefix = EtcdUrl.parse(self.url).publishers_prefix
        found = self.etcd.ask("KV", "Range", rpc.RangeRequest(key=prefix, range_end=prefix_end(prefix)))
        for item in found.kvs:
            self.etcd.ask("Lease", "LeaseRevoke", rpc.LeaseRevokeRequest(ID=item.lease))

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
        cluster = PublishedCluster(directory, etcd)
        with ThreadPoolExecutor() as threads:
            cluster.nodes += threads.map(
                lambda number: stack.enter_context(cluster.node(number, *options)), range(num_nodes)
            )
        cluster.map_when(lambda found: len(found.nodes) == num_nodes)
        yield cluster

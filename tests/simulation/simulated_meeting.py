"""The simulated etcd as one node reaches it, or one publisher."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from simulation.simulated_etcd import Process, SimulatedEtcd

from engram_store.shard_map import ShardMap
from store_server.cluster.registration import NodeRegistration


class SimulatedMeeting:
    """A MapSource and a Registry."""

    def __init__(self, etcd: SimulatedEtcd, process: Process) -> None:
        self._etcd = etcd
        self._process = process

    def follow(self) -> AsyncGenerator[ShardMap | None, None]:
        return self._etcd.follow(self._process)

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        return await self._etcd.compare_and_swap(self._process, expected_epoch, shard_map)

    async def register(self, registration: NodeRegistration, *, again: bool = False) -> None:  # noqa: ARG002
        await self._etcd.register(self._process, registration)

    async def leave(self) -> None:
        """Never asked for: nodes here go without a word."""

    def watch(self) -> AsyncGenerator[Mapping[str, NodeRegistration], None]:
        return self._etcd.watch(self._process)


class SimulatedPublishers:
    """A PublisherRegistry."""

    def __init__(self, etcd: SimulatedEtcd, process: Process) -> None:
        self._etcd = etcd
        self._process = process
        self._name = ""

    async def register(self, publisher: str) -> None:
        self._name = publisher
        await self._etcd.register_publisher(self._process, publisher)

    async def leave(self) -> None:
        await self._etcd.leave_publisher(self._process, self._name)

    def watch(self) -> AsyncGenerator[frozenset[str], None]:
        return self._etcd.watch_publishers(self._process)


class PublisherProcess:
    """Publishes, until it ends, is stopped for a while or dies."""

    def __init__(self) -> None:
        self.reaches_etcd = True
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    @property
    def is_dead(self) -> bool:
        return not self.reaches_etcd

    def die(self) -> None:
        """Tell nobody anything any more: what goes on in this process is seen by nobody."""
        self.reaches_etcd = False
        self._goes_on.set()

    def stop(self) -> None:
        self._goes_on.clear()

    def go_on(self) -> None:
        self._goes_on.set()

    async def running(self) -> None:
        await self._goes_on.wait()

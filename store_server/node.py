"""The life of a node: open the tables, listen, follow the data root, drain, stop."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from engram_store.credential_files import CredentialsRefused
from engram_store.v1 import table_service_pb2 as pb
from store_server.access.node_access import NodeAccess
from store_server.access.server_credentials import ServerCredentials
from store_server.catalog import Catalog
from store_server.cluster.blocks.copy_sources import CopySources
from store_server.cluster.node_channel import NodeChannels
from store_server.cluster.node_in_cluster import NodeInCluster
from store_server.gather_threads import gather_threads
from store_server.limits.load import Load
from store_server.listen_address import ListenAddress
from store_server.node_admin import NodeAdmin
from store_server.node_drain import NodeDrain
from store_server.node_port import NodePort
from store_server.observing.access_readings import read_access
from store_server.observing.cluster_readings import read_cluster
from store_server.observing.load_readings import read_connections, read_load
from store_server.observing.node_metrics import NodeMetrics
from store_server.observing.node_readings import read_node
from store_server.observing.tracing import SpansOfCalls, tracing
from store_server.opening import NodeFailed, num_served, open_tables
from store_server.root_changes import RootChanges
from store_server.root_follower import RootFollower
from store_server.services.node_changes import NodeChanges
from store_server.services.node_services import NodeServices
from store_server.services.node_status import NodeStatus
from store_server.storage import DataRoot
from store_server.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from store_server.config import ServerConfig
    from store_server.services.health import Readiness
    from store_server.storage.data_root import PlacedVersion
    from store_server.storage.row_memory import RowMemory

log = structlog.get_logger()


class Node:
    """A node that listens. `address` is what clients connect to, with the port that was picked.

    `memory` is where tables in RAM lie, by default memory of this process. One of several processes is not ready for
    clients, and says so, before it was told of the others by `name_workers`.
    """

    def __init__(
        self,
        config: ServerConfig,
        root: DataRoot,
        memory: RowMemory | None = None,
        *,
        suspects: Suspects | None = None,
        spans: SpansOfCalls = lambda: None,
        metrics: Callable[[Catalog, Path], NodeMetrics] = NodeMetrics,
        is_one_of_several: bool = False,
    ) -> None:
        self.address = ""
        self.pass_drain_on: Callable[[], None] = lambda: None
        """Has the other processes of the node announce that it stops, too."""
        self._config = config
        self._suspects = suspects or Suspects()
        self._catalog = Catalog(root, config, memory, self._suspects)
        self._threads = gather_threads(config.gather_threads)
        self.metrics = metrics(self._catalog, root.path)
        self._access = NodeAccess(config.access, config.tls)
        self._credentials: ServerCredentials | None = None
        self._load = Load(config.limits, config.gather_threads)
        self._port = NodePort(config.limits, self._load, self._access.callers, self.metrics.calls)
        self._in_cluster = self._part_in_cluster(root)
        self._services = NodeServices(
            config,
            root,
            self._catalog,
            self._threads,
            self._in_cluster,
            epoch=self._epoch,
            counts=self.metrics.lookups,
            spans=spans,
            is_one_of_several=is_one_of_several,
        )
        self._drain = NodeDrain(
            self._services,
            self._catalog,
            self._port,
            self._access.audit_of_node,
            seconds=config.drain_seconds,
            is_in_cluster=self._in_cluster is not None,
        )
        self._admin = self._for_operators(root)
        self._follower = RootFollower(self._catalog, config.reload_seconds, self._looked_at_root)
        self._show_state()

    async def start(self) -> None:
        """Open all tables, then listen. Raises CannotListen, NodeFailed, StorageError."""
        listen = ListenAddress.parse(self._config.listen)
        await self._read_credentials()
        await asyncio.to_thread(listen.require_free)  # asked before tables are loaded, which may take long
        await self._admin.require_free()
        is_in_cluster = self._in_cluster is not None  # one of a cluster may fetch again what it lost
        await asyncio.to_thread(open_tables, self._catalog, self._config.in_memory, may_serve_nothing=is_in_cluster)
        self._access.looked(self._catalog.tables, self._epoch())
        await self._admin.open(self._credentials)
        handlers = self._services.handlers(self._port.calls, self._admin.where_lookups_are)
        self.address = await self._port.open(listen, self._credentials, handlers)
        self._access.start()
        if self._in_cluster is not None:
            await self._in_cluster.start(self.address)
        await self._report_health()
        self._follower.start()
        tables, served = len(self._catalog.tables), num_served(self._catalog)
        log.info("listening", address=self.address, tables=served, damaged=tables - served)

    @property
    def admin_address(self) -> str:
        """Where changes are taken, if that is at an address of its own; else ""."""
        return self._admin.address

    def tell_readiness(self, readiness: Readiness) -> None:
        """Tell somebody from now on whether clients are served."""
        self._services.health.readiness = readiness
        self._services.health.tell(self._catalog.tables, is_ready=self._services.tables.is_ready)

    async def name_workers(self, node_id: str, listen: Sequence[str]) -> None:
        """Tell clients from now on of all the processes of this node; see the message Workers."""
        self._services.tables.workers = pb.Workers(node=node_id, listen=listen)
        await self._report_health()

    async def note_quarantine(self, placed: PlacedVersion, reason: str, *, is_written: bool) -> None:
        """Serve a version no more that is in quarantine since a moment, whether or not the data root says so."""
        if not is_written:
            self._suspects.quarantine(placed, reason)
        await asyncio.to_thread(self._catalog.note_quarantine, placed)
        await self._report_health()

    async def server_ended(self) -> None:
        """Wait until gRPC's server has ended; see NodePort.ended."""
        await self._port.ended()

    def announce_drain(self) -> None:
        """Have this process tell everybody that the node stops, and serve on: see NodeDrain.announce."""
        self._drain.announce()

    def _announce_everywhere(self) -> None:
        self.announce_drain()
        self.pass_drain_on()

    async def drain(self) -> None:
        """Tell everybody that this node stops, finish what is under way within `drain_seconds`, cut the rest."""
        await self._drain.finish()

    async def close(self) -> None:
        """Let go of everything at once."""
        await self._follower.close()
        if self._in_cluster is not None:
            await self._in_cluster.close()
        await self._port.close()
        await self._admin.close()
        self._catalog.stop_following()
        # In threads: a lookup that waits for a disk is waited for, and a second signal must still be heard.
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._catalog.close)
        await self._access.close()
        if self.address:
            log.info("stopped", address=self.address)

    def _show_state(self) -> None:
        readings = self.metrics.readings
        read_node(readings, self._services, is_ready=lambda: self._is_ready, epoch=self._epoch)
        if self._in_cluster is not None:
            read_cluster(readings, self._in_cluster.wholeness)
        read_access(readings, self._access, lambda: self._credentials)
        read_load(readings, self._load)
        read_connections(readings, self._port.connections, self._port.stall_watch)

    @property
    def _is_ready(self) -> bool:
        return bool(self.address) and self._services.tables.is_ready and not self._services.draining.is_announced

    def _epoch(self) -> int:
        return 0 if self._in_cluster is None else self._in_cluster.known.epoch

    def _part_in_cluster(self, root: DataRoot) -> NodeInCluster | None:
        if self._config.cluster is None:
            return None
        channels = NodeChannels(self._config.cluster.to_nodes, may_leave_host=self._config.insecure)
        return NodeInCluster(self._config.cluster, root, self._catalog, CopySources(channels, self._access.sources))

    def _for_operators(self, root: DataRoot) -> NodeAdmin:
        config, known = self._config, None if self._in_cluster is None else self._in_cluster.known
        status = NodeStatus(
            catalog=self._catalog,
            services=self._services,
            counts=self.metrics.lookups,
            load=self._load,
            connections=self._port.connections,
            known=known,
            node_id="" if config.cluster is None else config.cluster.node_id,
            address=lambda: self.address,
            is_ready=lambda: self._is_ready,
        )
        on_disk = RootChanges(self._catalog, root.path, self._access.sources, known)
        changes = NodeChanges(on_disk, self._announce_everywhere, self._access.audit)
        return NodeAdmin(config, self._access, status, changes, self.metrics.calls)

    async def _looked_at_root(self) -> None:
        self.metrics.looked_at_root()
        if self._credentials is not None:
            await asyncio.to_thread(self._credentials.look)
        self._access.looked(self._catalog.tables, self._epoch())
        if self._in_cluster is not None:
            await self._in_cluster.looked_at_root()
        await self._report_health()

    async def _read_credentials(self) -> None:
        if self._config.tls is not None:
            try:
                audit = self._access.audit_of_node
                self._credentials = await asyncio.to_thread(ServerCredentials, self._config.tls, audit=audit)
            except CredentialsRefused as error:
                raise NodeFailed(str(error)) from error

    async def _report_health(self) -> None:
        self._services.health.tell(self._catalog.tables, is_ready=self._services.tables.is_ready)


@asynccontextmanager
async def running(
    config: ServerConfig,
    memory: RowMemory | None = None,
    *,
    suspects: Suspects | None = None,
    is_one_of_several: bool = False,
    open_root: Callable[[Path], DataRoot] = DataRoot.open,
    around: Callable[[Node], AbstractAsyncContextManager[None]] = lambda _: nullcontext(),
) -> AsyncIterator[Node]:
    """Run a node, or one process of it, as long as the block lasts.

    What `around` returns is entered before the tables are opened, which may take long, and left before they are closed.
    """
    root = await asyncio.to_thread(open_root, config.root)  # whose disk may not answer
    with tracing(config.trace, config.listen) as spans:
        node = Node(config, root, memory, suspects=suspects, spans=spans, is_one_of_several=is_one_of_several)
        try:
            async with around(node):
                await node.start()
                yield node
        finally:
            await node.close()

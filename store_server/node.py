"""The life of a node: open the tables, listen, follow the data root, drain, stop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

import grpc
import structlog

from engram_store.credential_files import CredentialsRefused
from engram_store.v1 import table_service_pb2 as pb
from store_server.access.audit import Event
from store_server.access.node_access import NodeAccess
from store_server.access.server_credentials import ServerCredentials
from store_server.access.server_port import open_port
from store_server.catalog import Catalog
from store_server.cluster.blocks.copy_sources import CopySources
from store_server.cluster.node_channel import NodeChannels
from store_server.cluster.node_in_cluster import NodeInCluster
from store_server.config import ServerConfig
from store_server.gather_threads import gather_threads
from store_server.limits.connections import Connections
from store_server.limits.load import Load
from store_server.listen_address import ListenAddress
from store_server.observing.access_readings import read_access
from store_server.observing.cluster_readings import read_cluster
from store_server.observing.load_readings import read_connections, read_load
from store_server.observing.node_metrics import NodeMetrics
from store_server.observing.tracing import SpansOfCalls, tracing
from store_server.root_follower import RootFollower
from store_server.services import blocks, cluster, health, lookup, reflection, tables
from store_server.services.calls import Calls
from store_server.services.draining import Draining
from store_server.services.stall_watch import StallWatch
from store_server.services.under_way import CallsUnderWay
from store_server.storage import DataRoot, StorageFailure, TableDamaged, VersionUnavailable
from store_server.storage.data_root import PlacedVersion
from store_server.storage.row_memory import RowMemory
from store_server.suspects import Suspects

log = structlog.get_logger()

GRPC_OPTIONS: Final = (
    # Two servers that share a port in silence would answer each other's clients.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),  # replies to lookups have their own limit, manifests that of who copies
    # Clients may ping every ten seconds to notice a node that vanished.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # A client that vanished in mid-stream is noticed, and its stream ended, within a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
_ON_THEIR_WAY_SECONDS: Final = 0.5  # for lookups that were sent already, where clients have no other node to go to
_LAST_WORD_SECONDS: Final = 0.25  # for those who only watch, once no call is under way: to hear that the node stops


class NodeFailed(Exception):
    """A node cannot start."""


class NothingToServe(NodeFailed):
    """The data root has tables, and not one of them can be opened."""


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
        self._config = config
        self._suspects = suspects or Suspects()
        self._catalog = Catalog(root, config, memory, self._suspects)
        self._threads = gather_threads(config.gather_threads)
        self._under_way, self._draining = CallsUnderWay(), Draining()
        self.metrics = metrics(self._catalog, root.path)
        self._connections = Connections(config.limits.max_connections)
        self._access = NodeAccess(config.access)
        self._load = Load(config.limits, config.gather_threads)
        self._calls = Calls(self._load, self._access.callers, self.metrics.calls, self._connections)
        self._stall_watch = StallWatch(self._calls, self._connections, config.limits.stall_seconds)
        self._in_cluster = None
        if config.cluster is not None:
            channels = NodeChannels(config.cluster.to_nodes, may_leave_host=config.insecure)
            sources = CopySources(channels, self._access.sources)
            self._in_cluster = NodeInCluster(config.cluster, root, self._catalog, sources)
        known = None if self._in_cluster is None else self._in_cluster.known
        self._lookups = lookup.LookupService(
            self._catalog, self._threads, self._under_way, self._draining, self._epoch, self.metrics.lookups, spans
        )
        self._tables = tables.TableService(
            self._catalog, self._under_way, self._draining, known=known, is_one_of_several=is_one_of_several
        )
        self._cluster = cluster.ClusterService(known, self._draining)
        self._blocks = (
            None if self._in_cluster is None else blocks.BlockService(root, self._threads, self._in_cluster.quarantine)
        )
        self._health = health.HealthReport(most_watches=config.limits.max_connections)
        self._server = grpc.aio.server(options=(*GRPC_OPTIONS, *config.limits.grpc_options()))
        self._credentials: ServerCredentials | None = None
        self._follower = RootFollower(self._catalog, config.reload_seconds, self._looked_at_root)
        self._show_state()

    async def start(self) -> None:
        """Open all tables, then listen. Raises CannotListen, NodeFailed, StorageError."""
        listen = ListenAddress.parse(self._config.listen)
        await self._read_credentials()
        await asyncio.to_thread(listen.require_free)  # asked before tables are loaded, which may take long
        await asyncio.to_thread(self._catalog.reload)
        self._access.looked(self._catalog.tables, self._epoch())
        self._check_in_memory()
        served = [state.opened_current() is not None for state in self._catalog.tables.values()]
        if served and not any(served) and self._in_cluster is None:  # one of a cluster may fetch them again
            raise NothingToServe(f"not one of the {len(served)} tables can be served; the log above says why")
        calls = self._calls
        self._server.add_generic_rpc_handlers(
            (
                self._lookups.handler(calls),
                self._tables.handler(calls),
                self._cluster.handler(calls),
                self._health.handler(calls),
            )
        )
        names = [lookup.SERVICE, tables.SERVICE, cluster.SERVICE, health.SERVICE]
        if self._blocks is not None:
            self._server.add_generic_rpc_handlers((self._blocks.handler(calls),))
            names.append(blocks.SERVICE)
        if self._config.channelz:
            from store_server.services import channelz  # rarely wanted: it takes memory

            self._server.add_generic_rpc_handlers((channelz.handler(calls),))
            names.append(channelz.SERVICE)
        if self._config.reflection:
            self._server.add_generic_rpc_handlers((reflection.ReflectionService(names).handler(calls),))
        self.address = await self._listen(listen)
        await self._server.start()
        self._access.start()
        if self._in_cluster is not None:
            await self._in_cluster.start(self.address)
        await self._report_health()
        self._follower.start()
        self._stall_watch.start()
        log.info("listening", address=self.address, tables=sum(served), damaged=len(served) - sum(served))

    def tell_readiness(self, readiness: health.Readiness) -> None:
        """Tell somebody from now on whether clients are served."""
        self._health.readiness = readiness
        self._health.tell(self._catalog.tables, is_ready=self._tables.is_ready)

    async def name_workers(self, node_id: str, listen: Sequence[str]) -> None:
        """Tell clients from now on of all the processes of this node; see the message Workers."""
        self._tables.workers = pb.Workers(node=node_id, listen=listen)
        await self._report_health()

    async def note_quarantine(self, placed: PlacedVersion, reason: str, *, is_written: bool) -> None:
        """Serve a version no more that is in quarantine since a moment, whether or not the data root says so."""
        if not is_written:
            self._suspects.quarantine(placed, reason)
        await asyncio.to_thread(self._catalog.note_quarantine, placed)
        await self._report_health()

    async def server_ended(self) -> None:
        """Wait until gRPC's server has ended, as `drain` and `close` make it end and a mistake of its own may."""
        await self._server.wait_for_termination()

    async def drain(self) -> None:
        """Tell everybody that this node stops, finish what is under way within `drain_seconds`, cut the rest.

        One of a cluster serves until its clients have gone to other nodes, or half of the time is over.
        """
        seconds, now = self._config.drain_seconds, asyncio.get_running_loop().time
        latest = now() + seconds
        log.info("draining", seconds=seconds)
        self._access.audit_of_node.record(Event(action="node", outcome="draining", details={"seconds": seconds}))
        self._draining.announce()
        self._health.tell_end()
        most_seconds = min(seconds / 2, math.inf if self._in_cluster else _ON_THEIR_WAY_SECONDS)
        is_quiet = await self._draining.nobody_asks(self._under_way, most_seconds=most_seconds)
        log.info("ending, nobody asks any more" if is_quiet else "ending, though clients ask still")
        self._catalog.stop_following()
        self._lookups.end_streams()
        refusing = asyncio.create_task(self._server.stop(latest - now()))
        # Not for all of gRPC's calls: who watches health watches until the connection ends.
        with suppress(TimeoutError):
            async with asyncio.timeout_at(latest):
                await self._under_way.ended()
        await self._server.stop(_LAST_WORD_SECONDS)
        await refusing

    async def close(self) -> None:
        """Let go of everything at once."""
        await self._follower.close()
        await self._stall_watch.close()
        if self._in_cluster is not None:
            await self._in_cluster.close()
        await self._server.stop(None)
        self._catalog.stop_following()
        # In threads: a lookup that waits for a disk is waited for, and a second signal must still be heard.
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._catalog.close)
        await self._access.close()
        if self.address:
            log.info("stopped", address=self.address)

    def _show_state(self) -> None:
        readings, lookups, draining = self.metrics.readings, self._lookups, self._draining
        readings.gauge("engram_node_ready", "Whether clients are served.", lambda: self._is_ready)
        readings.gauge("engram_draining", "Whether the node has told that it stops.", lambda: draining.is_announced)
        readings.gauge("engram_map_epoch", "Epoch of the shard map that the node knows, 0 for none.", self._epoch)
        readings.gauge("engram_streams", "Streams of lookups that are open.", lambda: lookups.num_streams)
        if self._in_cluster is not None:
            read_cluster(readings, self._in_cluster.wholeness)
        read_access(readings, self._access, lambda: self._credentials)
        read_load(readings, self._load)
        read_connections(readings, self._connections, self._stall_watch)

    @property
    def _is_ready(self) -> bool:
        return bool(self.address) and self._tables.is_ready and not self._draining.is_announced

    def _epoch(self) -> int:
        return 0 if self._in_cluster is None else self._in_cluster.known.epoch

    async def _looked_at_root(self) -> None:
        self.metrics.looked_at_root()
        if self._credentials is not None:
            await asyncio.to_thread(self._credentials.look)
        self._access.looked(self._catalog.tables, self._epoch())
        if self._in_cluster is not None:
            await self._in_cluster.looked_at_root()
        await self._report_health()

    def _check_in_memory(self) -> None:
        """Raise for a name that is misspelt, which would silently be served from disk, and a table that does not fit.

        One that the disk has lost is in the log, and keeps no other from being served.
        """
        for name in self._config.in_memory:
            try:
                self._catalog.find(name, "")
            except (TableDamaged, VersionUnavailable) as error:
                if not isinstance(error.__cause__, (TableDamaged, StorageFailure)):
                    raise

    async def _listen(self, listen: ListenAddress) -> str:
        """Listen and return the address for clients."""
        # Once more: somebody may have taken it while tables were loaded, and only this says so in one line.
        await asyncio.to_thread(listen.require_free)
        port = open_port(self._server, listen, self._credentials)
        self._connections.listen_on(0 if listen.path else port)
        return listen.for_clients(port)

    async def _read_credentials(self) -> None:
        if self._config.tls is not None:
            try:
                audit = self._access.audit_of_node
                self._credentials = await asyncio.to_thread(ServerCredentials, self._config.tls, audit=audit)
            except CredentialsRefused as error:
                raise NodeFailed(str(error)) from error

    async def _report_health(self) -> None:
        self._health.tell(self._catalog.tables, is_ready=self._tables.is_ready)


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
    root = open_root(config.root)
    with tracing(config.trace, config.listen) as spans:
        node = Node(config, root, memory, suspects=suspects, spans=spans, is_one_of_several=is_one_of_several)
        try:
            async with around(node):
                await node.start()
                yield node
        finally:
            await node.close()

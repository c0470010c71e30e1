"""All that clients can ask of a node: its services, each of which knows of no port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.services import admin, blocks, cluster, health, lookup, reflection, tables
from store_server.services.draining import Draining
from store_server.services.under_way import CallsUnderWay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    import grpc

    from store_server.catalog import Catalog
    from store_server.cluster.node_in_cluster import NodeInCluster
    from store_server.config import ServerConfig
    from store_server.observing.lookup_counts import LookupCounts
    from store_server.observing.tracing import SpansOfCalls
    from store_server.services.calls import Calls
    from store_server.storage import DataRoot


class NodeServices:
    """Made of what a node has. One of several processes is not ready before `tables` was told of the others."""

    def __init__(
        self,
        config: ServerConfig,
        root: DataRoot,
        catalog: Catalog,
        threads: Executor,
        in_cluster: NodeInCluster | None,
        *,
        epoch: Callable[[], int],
        counts: LookupCounts,
        spans: SpansOfCalls,
        is_one_of_several: bool,
    ) -> None:
        known = None if in_cluster is None else in_cluster.known
        self.under_way, self.draining = CallsUnderWay(), Draining()
        self.lookups = lookup.LookupService(catalog, threads, self.under_way, self.draining, epoch, counts, spans)
        self.tables = tables.TableService(
            catalog, self.under_way, self.draining, known=known, is_one_of_several=is_one_of_several
        )
        self.health = health.HealthReport(most_watches=config.limits.max_connections)
        self._cluster = cluster.ClusterService(known, self.draining)
        self._blocks = None if in_cluster is None else blocks.BlockService(root, threads, in_cluster.quarantine)
        self._config = config

    def handlers(self, calls: Calls, for_operators: admin.AdminService) -> Iterator[grpc.GenericRpcHandler]:
        """Yield what serves them, and those who run the node."""
        yield self.lookups.handler(calls)
        yield self.tables.handler(calls)
        yield self._cluster.handler(calls)
        yield self.health.handler(calls)
        yield for_operators.handler(calls)
        names = [lookup.SERVICE, tables.SERVICE, cluster.SERVICE, health.SERVICE, admin.SERVICE]
        if self._blocks is not None:
            yield self._blocks.handler(calls)
            names.append(blocks.SERVICE)
        if self._config.channelz and self._config.access.admin_listen is None:  # else it is there
            from store_server.services import channelz  # rarely wanted: it takes memory

            yield channelz.handler(calls)
            names.append(channelz.SERVICE)
        if self._config.reflection:
            yield reflection.ReflectionService(names).handler(calls)

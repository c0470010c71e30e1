"""Where the nodes of a cluster find its map and, in etcd, each other: what its URL names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from store_server.cluster.agreement import file_map_source
from store_server.cluster.agreement.etcd_url import SCHEMES, EtcdUrl, without_password
from store_server.cluster.agreement.map_source import MapSource
from store_server.cluster.agreement.registry import PublisherRegistry, Registry
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.kept_cluster_id import KeptClusterId


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingPoint:
    """What a node needs of it."""

    where: str
    """Of what its messages speak: cluster 'prod' at HOST:PORT, or a path."""
    source: MapSource
    close: Callable[[], Awaitable[None]]
    cluster: str | None = None
    """Name of the cluster; None where only the map tells."""
    registry: Registry | None = None
    """None where somebody else writes the map, who knows the nodes."""
    publishers: PublisherRegistry | None = None
    """None where there is no registry."""


def meeting_point_at(config: ClusterConfig, kept_id: KeptClusterId | None = None) -> MeetingPoint:
    """Return what the URL of a cluster names; connects to nothing yet. Raises ValueError.

    With the id of a node's cluster, nothing is done where another cluster is.
    """
    scheme = urlsplit(config.url).scheme
    if scheme in SCHEMES:
        return _in_etcd(config, kept_id)
    if scheme != file_map_source.SCHEME:
        raise ValueError(
            f"a cluster is at file:///PATH, etcd://... or etcds://..., got {without_password(config.url)!r:.200}"
        )
    path = file_map_source.path_of(config.url)
    return MeetingPoint(where=str(path), source=file_map_source.FileMapSource(path), close=_nothing_to_close)


def _in_etcd(config: ClusterConfig, kept_id: KeptClusterId | None) -> MeetingPoint:
    url = EtcdUrl.parse(config.url)
    try:  # an extra: a cluster whose map is a file needs none of it
        from store_server.cluster.agreement.etcd_access import EtcdAccess
        from store_server.cluster.agreement.etcd_cluster_id import EtcdClusterId
        from store_server.cluster.agreement.etcd_connection import EtcdConnection
        from store_server.cluster.agreement.etcd_map_source import EtcdMapSource
        from store_server.cluster.agreement.etcd_publishers import EtcdPublishers
        from store_server.cluster.agreement.etcd_registry import EtcdRegistry
    except ImportError as error:
        raise ValueError(
            f"a cluster in etcd needs one more package: pip install 'engram-store[etcd]' ({error})"
        ) from error
    access = EtcdAccess(
        password_file=config.password_file,
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
    )
    etcd = EtcdConnection(url, access)
    cluster_id = None if kept_id is None else EtcdClusterId(etcd, url, kept_id)
    return MeetingPoint(
        where=f"cluster {url.name!r} in etcd at {','.join(url.endpoints)}",
        source=EtcdMapSource(etcd, url, cluster_id),
        registry=EtcdRegistry(etcd, url, config.lease_seconds, cluster_id),
        publishers=EtcdPublishers(etcd, url, config.lease_seconds),
        cluster=url.name,
        close=etcd.close,
    )


async def _nothing_to_close() -> None:
    """Files are opened and closed at each look."""

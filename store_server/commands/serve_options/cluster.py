"""How a node takes part in a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engram_store.credential_files import CredentialPaths
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.node_security import NodeSecurity
from store_server.commands import cluster_options
from store_server.commands.host_checks import unreadable, unusable
from store_server.commands.option_groups import OptionGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(OptionGroup):
    """The cluster, what the node is in it and how it goes about its part."""

    cluster: cluster_options.Url = None
    node_id: cluster_options.NodeId = None
    advertise: cluster_options.Advertise = None
    label: cluster_options.Labels = None
    capacity: cluster_options.Capacity = None
    replicas: cluster_options.Replicas = 2
    lease_seconds: cluster_options.LeaseSeconds = 10
    lost_after: cluster_options.LostAfter = 60.0
    all_lost_after: cluster_options.AllLostAfter = 600.0
    copy_rate: cluster_options.CopyRate = None
    keep_seconds: cluster_options.KeepSeconds = 300.0
    retire_after: cluster_options.RetireAfter = 60.0
    retire_at_latest: cluster_options.RetireAtLatest = 3600.0
    scrub_rate: cluster_options.ScrubRate = None
    etcd_password_file: cluster_options.PasswordFile = None
    etcd_ca: cluster_options.CaFile = None
    etcd_cert: cluster_options.CertFile = None
    etcd_key: cluster_options.KeyFile = None
    node_token_file: cluster_options.NodeTokenFile = None
    node_ca: cluster_options.NodeCa = None
    node_cert: cluster_options.NodeCert = None
    node_key: cluster_options.NodeKey = None

    def settings(self) -> Mapping[str, Any]:
        """See OptionGroup."""
        if self.cluster is not None:
            return {"cluster": self._config(self.cluster)}
        if self.given:
            raise ValueError(
                f"without --cluster, {', '.join(self.given_options)} would mean nothing: give --cluster, too"
            )
        return {"cluster": None}

    def problems(self) -> Iterator[str]:
        """See OptionGroup."""
        yield from unreadable("--etcd-password-file", self.etcd_password_file)
        yield from unreadable("--etcd-ca", self.etcd_ca)
        yield from unreadable("--etcd-cert", self.etcd_cert)
        yield from unreadable("--etcd-key", self.etcd_key)
        yield from unusable(
            CredentialPaths(token=self.node_token_file, ca=self.node_ca, cert=self.node_cert, key=self.node_key)
        )

    def _config(self, url: str) -> ClusterConfig:
        return ClusterConfig(
            url=url,
            node_id=self.node_id or "",
            address=self.advertise or "",
            labels=cluster_options.parse_labels(self.label),
            capacity_bytes=self.capacity or 0,
            replicas=self.replicas,
            lease_seconds=self.lease_seconds,
            lost_after_seconds=self.lost_after,
            all_lost_after_seconds=self.all_lost_after,
            copy_bytes_per_second=self.copy_rate,
            keep_seconds=self.keep_seconds,
            retire_after_seconds=self.retire_after,
            retire_at_latest_seconds=self.retire_at_latest,
            scrub_bytes_per_second=self.scrub_rate,
            password_file=self.etcd_password_file,
            ca_file=self.etcd_ca,
            cert_file=self.etcd_cert,
            key_file=self.etcd_key,
            to_nodes=NodeSecurity(
                token_file=self.node_token_file,
                ca_file=self.node_ca,
                cert_file=self.node_cert,
                key_file=self.node_key,
            ),
        )

"""Settings of a node that is one of a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engram_store.shard_map import MAX_CAPACITY_BYTES
from store_server.cluster.next_map.retirement import RetirementSettings
from store_server.cluster.node_security import NodeSecurity
from store_server.cluster.placement.failure_domains import DOMAIN_LABELS
from store_server.listen_address import ANY_HOST, ListenAddress

_NODE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """How a node takes part in its cluster. Checked on creation; raises ValueError."""

    url: str
    """Where the shard map is: file:///PATH, or etcd://[USER@]HOST:PORT[,HOST:PORT]/NAME (etcds:// with TLS)."""
    node_id: str
    """Unique in the cluster, and the same when the node comes back."""
    address: str = ""
    """HOST:PORT where clients and other nodes reach this node; "" for where it listens."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The failure domains that the node is in, such as {"zone": "a"}: one for each of DOMAIN_LABELS, or for some."""
    capacity_bytes: int = 0
    """Bytes of rows that the node can hold; 0 for as many as the others on average, or more where need be."""
    replicas: int = 2
    """How many nodes are to hold each shard; counts only for who makes the first map of a cluster."""
    lease_seconds: int = 10
    """How long the others take a node for alive that says nothing."""
    lost_after_seconds: float = 60.0
    """How long a node may be away before its shards are given to others."""
    all_lost_after_seconds: float = 600.0
    """The same if half of all nodes went away together, which is seldom the nodes' fault."""
    password_file: Path | None = None
    """Holds the password of the URL's user in etcd; by default it is in the environment, ETCD_PASSWORD."""
    ca_file: Path | None = None
    """Certificates that etcd's is to be signed by; by default those that gRPC trusts."""
    cert_file: Path | None = None
    """What the node shows to an etcd that asks for certificates."""
    key_file: Path | None = None
    copy_bytes_per_second: float | None = None
    """How fast the node fetches rows that it is to hold, and reads those of them that it has; None for no limit."""
    keep_seconds: float = 300.0
    """For how long the node keeps rows that it is no more to hold, for clients whose map is old."""
    retire_after_seconds: float = 60.0
    """How long the map keeps a version that is neither current, previous nor pending, and that nobody looks up."""
    retire_at_latest_seconds: float = 3600.0
    """The same where lookups of it go on."""
    scrub_bytes_per_second: float | None = None
    """How fast the node reads what it holds over and over again, to find bad blocks; None for not at all."""
    to_nodes: NodeSecurity = field(default_factory=NodeSecurity)
    """What the node shows to other nodes, and which of them it trusts."""
    speaks_for_node: bool = True
    """Of several workers one registers the node and keeps the map on its disk; all of them know the map."""

    def __post_init__(self) -> None:
        if not _NODE_ID.fullmatch(self.node_id):
            raise ValueError(
                "a node of a cluster needs an id (--node-id): 1 to 100 letters, digits, dots, dashes and underscores, "
                f"the first a letter or a digit, got {self.node_id!r:.120}"
            )
        self._check_labels()
        if not 0 <= self.capacity_bytes <= MAX_CAPACITY_BYTES:
            raise ValueError(f"capacity_bytes must be at least 0 and at most 2**62, got {self.capacity_bytes}")
        if self.address:
            _check_reachable(self.address)
        if not 1 <= self.replicas <= 100:
            raise ValueError(f"replicas must be at least 1 and at most 100, got {self.replicas}")
        if not 1 <= self.lease_seconds <= 3600:
            raise ValueError(f"lease_seconds must be at least 1 and at most 3600, got {self.lease_seconds}")
        if not self.lease_seconds < self.lost_after_seconds <= self.all_lost_after_seconds:
            raise ValueError(
                "lost_after_seconds (--lost-after) must be above lease_seconds (--lease-seconds), "
                f"{self.lease_seconds}, and at most all_lost_after_seconds (--all-lost-after), "
                f"{self.all_lost_after_seconds}, got {self.lost_after_seconds}"
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a certificate and its key belong together: give both or neither")
        self._check_holding()

    def _check_labels(self) -> None:
        for key, value in self.labels.items():
            if not (_LABEL.fullmatch(key) and _LABEL.fullmatch(value)):
                raise ValueError(f"a label is KEY=VALUE of letters, digits and ._/-, such as zone=a, got {key}={value}")
            if key not in DOMAIN_LABELS:
                raise ValueError(
                    f"a label is one of {', '.join(DOMAIN_LABELS)}, by which copies are spread, got {key}={value}"
                )

    def _check_holding(self) -> None:
        for name, option in (("copy_bytes_per_second", "--copy-rate"), ("scrub_bytes_per_second", "--scrub-rate")):
            if (rate := getattr(self, name)) is not None and not rate > 0:
                raise ValueError(f"{name} ({option}) must be above 0, got {rate:g}")
        if not self.keep_seconds >= 0:
            raise ValueError(f"keep_seconds (--keep-seconds) must not be negative, got {self.keep_seconds:g}")
        RetirementSettings(after_seconds=self.retire_after_seconds, at_latest_seconds=self.retire_at_latest_seconds)


def _check_reachable(address: str) -> None:
    try:
        parsed = ListenAddress.parse(address)
    except ValueError:
        parsed = None
    if parsed is None or (not parsed.path and (parsed.port == 0 or parsed.host in ANY_HOST)):
        raise ValueError(
            "address (--advertise) must be where others reach this node, HOST:PORT with a port of 1 to 65535 or "
            f"unix:///PATH, got {address!r:.200}"
        )

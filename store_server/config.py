"""Settings of a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from store_server.access.access_config import AccessConfig
from store_server.access.server_port import require_safe
from store_server.cluster.cluster_config import ClusterConfig
from store_server.limits.limits import Limits
from store_server.listen_address import ANY_HOST, ListenAddress
from store_server.logs import LogFormat
from store_server.observing.tracing import Trace
from store_server.tls_config import TlsConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How one node runs. Checked on creation; raises ValueError."""

    root: Path
    listen: str = "127.0.0.1:50051"
    """HOST:PORT (port 0 picks a free one) or unix:///PATH."""
    health_listen: str | None = None
    """Where probes are answered in plain text, HOST:PORT or unix:///PATH, for all workers; None for nowhere."""
    reflection: bool = True
    """Whether the node tells which services and messages it has."""
    channelz: bool = False
    """Whether it tells those who may administer it of its connections."""
    in_memory: frozenset[str] = frozenset()
    """Tables whose current version is loaded into RAM instead of being mapped."""
    huge_pages: bool = False
    """Ask for huge pages for the tables in memory."""
    drain_seconds: float = 10.0
    """How long a stop waits for lookups that are under way and, at most half of it, for clients to go elsewhere."""
    reload_seconds: float = 1.0
    """How often the node looks for versions that were published or dropped."""
    max_rows_per_lookup: int = 131_072
    """Most rows in one lookup: their numbers fill 1 MiB."""
    max_reply_bytes: int = (4 << 20) - 4096
    """Most bytes of rows in one reply: fits gRPC's default limit of 4 MiB, so that any client can receive it."""
    gather_threads: int = 8
    """Threads that read rows which may have to come from disk."""
    memory_budget_bytes: int | None = None
    """How much of the mapped tables may lie in RAM: what is mapped, and what is found in the page cache.

    None leaves that to the kernel. The least is for who divides it among workers to check.
    """
    limits: Limits = field(default_factory=Limits)
    """What clients may ask of the node."""
    access: AccessConfig = field(default_factory=AccessConfig)
    """Who may do what on the node."""
    metrics_listen: str | None = None
    """HOST:PORT at which the node shows its metrics, one port for all its workers; None for nowhere."""
    log_format: LogFormat = "text"
    """How its log is written: a line of text or a JSON object an event."""
    trace: Trace = "off"
    """Whether lookups that their clients trace have spans here, sent by OTLP."""
    tls: TlsConfig | None = None
    """What the node shows where it listens; None for plain text."""
    insecure: bool = False
    """Whether plain text may leave this host."""
    cluster: ClusterConfig | None = None
    """The cluster that the node is one of; None for a node that stands alone."""

    def __post_init__(self) -> None:
        listen = ListenAddress.parse(self.listen)
        if self.cluster is not None and not self.cluster.address and listen.host in ANY_HOST:
            raise ValueError(f"others cannot reach a node at {self.listen}; with --cluster, give --advertise too")
        self._check_addresses(listen)
        if self.tls is not None and self.cluster is not None and self.cluster.to_nodes.ca_file is None:
            raise ValueError(
                "the nodes of a cluster are alike: with --tls-cert give --node-ca too, the certificates by which those "
                "of the other nodes are signed"
            )
        for name in ("drain_seconds", "reload_seconds"):
            if not 0 < getattr(self, name) <= 3600:
                raise ValueError(f"{name} must be above 0 and at most 3600, got {getattr(self, name)}")
        for name in ("max_rows_per_lookup", "gather_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_reply_bytes < 1 << 20:
            raise ValueError(f"max_reply_bytes must hold the widest row, 1 MiB, got {self.max_reply_bytes}")

    def _check_addresses(self, listen: ListenAddress) -> None:
        self._require_safe(listen)
        if self.metrics_listen is not None:
            shown_at = ListenAddress.parse(self.metrics_listen, "metrics_listen")
            if shown_at.path:
                raise ValueError(f"metrics_listen must be HOST:PORT, got {self.metrics_listen!r}")
            self._require_safe(shown_at)
        if self.access.admin_listen is not None:
            self._require_safe_to_change(ListenAddress.parse(self.access.admin_listen, "admin_listen"))

    def _require_safe_to_change(self, listen: ListenAddress) -> None:
        if not listen.path:
            self._require_safe(listen)
        if not listen.is_of_this_host and self.access.tokens is None:
            raise ValueError(
                f"admin_listen {listen.text} can be reached from other hosts, from where nobody may change a node that "
                "does not know who calls: give --tokens, which may name client certificates, or listen on 127.0.0.1 "
                "or unix:///PATH"
            )

    def _require_safe(self, address: ListenAddress) -> None:
        how = "give --tls-cert and --tls-key"
        require_safe(address, is_encrypted=self.tls is not None, is_allowed=self.insecure, how=how)

    def rows_per_lookup(self, row_bytes: int) -> int:
        """Return the most rows of this width that one lookup may ask for."""
        return min(self.max_rows_per_lookup, self.max_reply_bytes // row_bytes)

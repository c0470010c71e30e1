"""Rows of Engram tables from a memory store: over gRPC from a memory node, or from files of this host.

Example::

    async with engram_client.connect("grpc://127.0.0.1:50051") as store:
        table = await store.table("v41-flash/layer-1")
        rows = await table.fetch(ids)  # uint8 (*ids.shape, row_bytes)
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from engram_client.blocking import BlockingPendingRows, BlockingStore, BlockingTable, BlockingTableSet
from engram_client.caching import CacheUse, CachingTransport
from engram_client.deduplicator import Deduplicator
from engram_client.errors import (
    EngramError,
    FingerprintMismatch,
    ForkedProcess,
    InsecureUrl,
    InvalidBuffer,
    InvalidCredentials,
    InvalidIds,
    InvalidTableName,
    InvalidUrl,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    RequestTooLarge,
    RowOutOfRange,
    RowsNotHeld,
    StoreClosed,
    TableDamaged,
    TableNotFound,
    TableSetNotFound,
    TimeLimitExceeded,
    Unauthenticated,
    Unavailable,
    VersionNotFound,
    WrongLoop,
)
from engram_client.fork import leave_fork_to_us
from engram_client.pending import PendingRows
from engram_client.retry_counts import RetryCounts
from engram_client.security import AnyPath, Security, security_of
from engram_client.store import Store
from engram_client.table import Table
from engram_client.table_info import TableInfo
from engram_client.table_set import TableSet
from engram_client.tracing import TracingTransport
from engram_client.transport import Transport
from engram_client.url import StoreUrl, parse_url

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = [
    "BlockingPendingRows",
    "BlockingStore",
    "BlockingTable",
    "BlockingTableSet",
    "CacheUse",
    "EngramError",
    "FingerprintMismatch",
    "ForkedProcess",
    "InsecureUrl",
    "InvalidBuffer",
    "InvalidCredentials",
    "InvalidIds",
    "InvalidTableName",
    "InvalidUrl",
    "Overloaded",
    "PendingRows",
    "PermissionDenied",
    "ProtocolError",
    "RequestTooLarge",
    "RowOutOfRange",
    "RowsNotHeld",
    "Store",
    "StoreClosed",
    "Table",
    "TableDamaged",
    "TableInfo",
    "TableNotFound",
    "TableSet",
    "TableSetNotFound",
    "TimeLimitExceeded",
    "Unauthenticated",
    "Unavailable",
    "VersionNotFound",
    "WrongLoop",
    "connect",
    "connect_blocking",
]

DEFAULT_TIMEOUT_SECONDS = 10.0


def connect(
    url: str | os.PathLike[str] | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    cache_bytes: int | None = None,
    token: str | None = None,
    token_file: AnyPath | None = None,
    ca_file: AnyPath | None = None,
    cert_file: AnyPath | None = None,
    key_file: AnyPath | None = None,
    insecure: bool = False,
    tracer: Tracer | None = None,
) -> Store:
    """Return the store at `url`; nothing is opened or sent before the first call on it.

    Args:
        url: grpcs://HOST[:PORT] (port 50051 unless given, an IPv6 address in brackets) or unix:///PATH for a memory
            node or the cluster that it belongs to; grpcs://HOST[:PORT],HOST[:PORT] for a cluster of which one of these
            nodes can be reached; grpc:// for the same in plain text, to this host alone unless `insecure`; file:///ROOT
            for a data root of this host without any server. In a path a blank is written as %20. None reads ENGRAM_URL
            from the environment.
        timeout: seconds within which every call ends, tries included, unless the call is given its own.
        cache_bytes: the most memory for rows that are kept at this client, at least 1 MiB; None keeps none. What is
            held is not asked for again, and within a fetch each row is asked for once; `Store.cache` tells hit rates.
            Both are left out for a while where they take more time than they save.
        token: what tells a node who asks, for a token that is in no file.
        token_file: holds the token. This file and those below are read again when they change, and connections made
            anew without failing a call. What is not given is taken from the environment: ENGRAM_TOKEN_FILE,
            ENGRAM_CA_FILE, ENGRAM_CERT_FILE and ENGRAM_KEY_FILE; only for grpcs://, but for the token.
        ca_file: certificates (PEM) of which one has signed that of each node; by default the authorities that come
            with gRPC.
        cert_file: the certificate (PEM) to show to nodes that want one.
        key_file: its key.
        insecure: whether plain text, and the token in it, may go beyond this host; ENGRAM_INSECURE=1 says so too.
        tracer: of OpenTelemetry, such as trace.get_tracer("engram_client"), to make a span `engram.fetch` of each fetch
            and prefetch, which nodes that trace go on with. None makes none.

    Raises:
        InvalidUrl: the URL is missing or not understood.
        InsecureUrl: it is of plain text beyond this host. Nodes that are only learnt of later are held to the same.
        ValueError: `timeout` is no positive number of seconds, `cache_bytes` is too small, both tokens are given, a
            certificate is without its key, or something is given that means nothing for this kind of URL.
        TypeError: `cache_bytes` is no integer.

    The first call on the store raises InvalidCredentials where a file cannot be used, and any call Unauthenticated or
    PermissionDenied where a node refuses.

    Example::

        async with engram_client.connect("grpcs://memory-node:50051", token_file="/etc/engram/token") as store:
            table = await store.table("v41-flash/layer-1")
            rows = await table.fetch([[3, 1], [4, 1]])  # uint8 (2, 2, table.row_bytes)
    """
    parsed = parse_url(url)
    security = security_of(
        {} if parsed.scheme == "file" else os.environ,
        tls=parsed.scheme == "grpcs",
        token=token,
        token_file=token_file,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        insecure=insecure,
    )
    transport, hedges, retries = _transport(parsed, security)
    cache = None
    if cache_bytes is not None:
        cache = CachingTransport(transport, cache_bytes)
        transport = Deduplicator(cache)
    if tracer is not None:
        transport = TracingTransport(transport, tracer)
    return Store(transport, timeout, cache, hedges, retries)


def connect_blocking(
    url: str | os.PathLike[str] | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    cache_bytes: int | None = None,
    token: str | None = None,
    token_file: AnyPath | None = None,
    ca_file: AnyPath | None = None,
    cert_file: AnyPath | None = None,
    key_file: AnyPath | None = None,
    insecure: bool = False,
    tracer: Tracer | None = None,
) -> BlockingStore:
    """Return what `connect` returns, with the same names without await, for code that runs no event loop.

    Takes and raises what `connect` does. Any number of threads may share the store and its tables.

    Example::

        with engram_client.connect_blocking("file:///data/engram") as store:
            table = store.table("v41-flash/layer-1")
            pending = table.prefetch([3, 1, 4])  # returns at once
            rows = pending.result()  # uint8 (3, table.row_bytes)
    """
    return BlockingStore(
        connect(
            url,
            timeout=timeout,
            cache_bytes=cache_bytes,
            token=token,
            token_file=token_file,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            insecure=insecure,
            tracer=tracer,
        )
    )


def __getattr__(name: str) -> str:
    # Asked for only when wanted: it reads files, and fails in a checkout that was never installed.
    if name == "__version__":
        return importlib.metadata.version("engram-store")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _transport(url: StoreUrl, security: Security) -> tuple[Transport, Callable[[], int], RetryCounts]:
    """Return the way to the rows, and what tells how many requests were hedges, and how many were retries."""
    # Each way is imported when it is taken: file:/// needs no gRPC, grpc:// needs no storage.
    if url.scheme == "file":
        from engram_client.embedded import EmbeddedTransport

        if security != Security(insecure=security.insecure):
            raise ValueError(f"{url.text!r} is read by this process itself: nobody asks for a token or a certificate")
        return EmbeddedTransport(url.addresses[0]), lambda: 0, RetryCounts()
    for address in url.addresses:
        security.require_safe(address)
    leave_fork_to_us()
    from engram_client.cluster.node_or_cluster import NodeOrCluster
    from engram_client.keyring import Keyring

    nodes = NodeOrCluster(url.addresses, Keyring(security))
    return nodes, lambda: nodes.hedges, nodes.retries

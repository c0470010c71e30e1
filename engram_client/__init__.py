"""Rows of Engram tables from a memory store: over gRPC from a memory node, or from files of this host.

Example::

    async with engram_client.connect("grpc://127.0.0.1:50051") as store:
        table = await store.table("v41-flash/layer-1")
        rows = await table.fetch(ids)  # uint8 (*ids.shape, row_bytes)
"""

from __future__ import annotations

import importlib.metadata
import os

from engram_client.blocking import BlockingPendingRows, BlockingStore, BlockingTable, BlockingTableSet
from engram_client.caching import CacheUse, CachingTransport
from engram_client.deduplicator import Deduplicator
from engram_client.errors import (
    EngramError,
    FingerprintMismatch,
    ForkedProcess,
    InvalidBuffer,
    InvalidIds,
    InvalidTableName,
    InvalidUrl,
    ProtocolError,
    RequestTooLarge,
    RowOutOfRange,
    RowsNotHeld,
    StoreClosed,
    TableDamaged,
    TableNotFound,
    TableSetNotFound,
    TimeLimitExceeded,
    Unavailable,
    VersionNotFound,
    WrongLoop,
)
from engram_client.fork import leave_fork_to_us
from engram_client.pending import PendingRows
from engram_client.store import Store
from engram_client.table import Table
from engram_client.table_info import TableInfo
from engram_client.table_set import TableSet
from engram_client.transport import Transport
from engram_client.url import StoreUrl, parse_url

__all__ = [
    "BlockingPendingRows",
    "BlockingStore",
    "BlockingTable",
    "BlockingTableSet",
    "CacheUse",
    "EngramError",
    "FingerprintMismatch",
    "ForkedProcess",
    "InvalidBuffer",
    "InvalidIds",
    "InvalidTableName",
    "InvalidUrl",
    "PendingRows",
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
) -> Store:
    """Return the store at `url`; nothing is opened or sent before the first call on it.

    Args:
        url: grpc://HOST[:PORT] (port 50051 unless given, an IPv6 address in brackets) or unix:///PATH for a memory
            node or the cluster that it belongs to; grpc://HOST[:PORT],HOST[:PORT] for a cluster of which one of these
            nodes can be reached; file:///ROOT for a data root of this host without any server. In a path a blank is
            written as %20. None reads ENGRAM_URL from the environment.
        timeout: seconds within which every call ends, tries included, unless the call is given its own.
        cache_bytes: the most memory for rows that are kept at this client, at least 1 MiB; None keeps none. What is
            held is not asked for again, and within a fetch each row is asked for once; `Store.cache` tells hit rates.
            Both are left out for a while where they take more time than they save.

    Raises:
        InvalidUrl: the URL is missing or not understood.
        ValueError: `timeout` is no positive number of seconds, or `cache_bytes` is too small.
        TypeError: `cache_bytes` is no integer.

    Example::

        async with engram_client.connect("grpc://memory-node:50051") as store:
            table = await store.table("v41-flash/layer-1")
            rows = await table.fetch([[3, 1], [4, 1]])  # uint8 (2, 2, table.row_bytes)
    """
    transport = _transport(parse_url(url))
    if cache_bytes is None:
        return Store(transport, timeout)
    cache = CachingTransport(transport, cache_bytes)
    return Store(Deduplicator(cache), timeout, cache)


def connect_blocking(
    url: str | os.PathLike[str] | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    cache_bytes: int | None = None,
) -> BlockingStore:
    """Return what `connect` returns, with the same names without await, for code that runs no event loop.

    Takes and raises what `connect` does. Any number of threads may share the store and its tables.

    Example::

        with engram_client.connect_blocking("file:///data/engram") as store:
            table = store.table("v41-flash/layer-1")
            pending = table.prefetch([3, 1, 4])  # returns at once
            rows = pending.result()  # uint8 (3, table.row_bytes)
    """
    return BlockingStore(connect(url, timeout=timeout, cache_bytes=cache_bytes))


def __getattr__(name: str) -> str:
    # Asked for only when wanted: it reads files, and fails in a checkout that was never installed.
    if name == "__version__":
        return importlib.metadata.version("engram-store")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _transport(url: StoreUrl) -> Transport:
    # Each way is imported when it is taken: file:/// needs no gRPC, grpc:// needs no storage.
    if url.scheme == "file":
        from engram_client.embedded import EmbeddedTransport

        return EmbeddedTransport(url.addresses[0])
    leave_fork_to_us()
    from engram_client.cluster.node_or_cluster import NodeOrCluster

    return NodeOrCluster(url.addresses)

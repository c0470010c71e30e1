"""Rows of Engram tables from a memory store: over gRPC from a memory node, or from files of this host.

Example::

    async with engram_client.connect("grpc://127.0.0.1:50051") as store:
        table = await store.table("v41-flash/layer-1")
        rows = await table.fetch(ids)  # uint8 (*ids.shape, row_bytes)
"""

from __future__ import annotations

import os

from engram_client.blocking import BlockingPendingRows, BlockingStore, BlockingTable
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
    StoreClosed,
    TableDamaged,
    TableNotFound,
    TimeLimitExceeded,
    Unavailable,
    VersionNotFound,
    WrongLoop,
)
from engram_client.fork import leave_fork_to_us
from engram_client.pending import PendingRows
from engram_client.store import Store, Table
from engram_client.table_info import TableInfo
from engram_client.transport import Transport
from engram_client.url import StoreUrl, parse_url

__all__ = [
    "BlockingPendingRows",
    "BlockingStore",
    "BlockingTable",
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
    "Store",
    "StoreClosed",
    "Table",
    "TableDamaged",
    "TableInfo",
    "TableNotFound",
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
    """Return the store at `url`; nothing is sent before the first call.

    Args:
        url: grpc://HOST[:PORT] or unix:///PATH for a memory node, file:///ROOT for a data root of this host without any
            server; None reads ENGRAM_URL from the environment.
        timeout: seconds within which every call ends, tries included, unless the call is given its own.
        cache_bytes: the most memory for rows that are kept at this client, at least 1 MiB; None keeps none. What is
            held is not asked for again, and within a fetch each row is asked for once; `Store.cache` tells hit rates.
            Both are left out for a while where they take more time than they save.

    Raises:
        InvalidUrl: the URL is missing or not understood.
        ValueError: cache_bytes or timeout are too small.
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
    """Return what `connect` returns, with the same names without await, for code that runs no event loop."""
    return BlockingStore(connect(url, timeout=timeout, cache_bytes=cache_bytes))


def _transport(url: StoreUrl) -> Transport:
    # Each way is imported when it is taken: file:/// needs no gRPC, grpc:// needs no storage.
    if url.scheme == "file":
        from engram_client.embedded import EmbeddedTransport

        return EmbeddedTransport(url.address)
    leave_fork_to_us()
    from engram_client.grpc_transport import GrpcTransport

    return GrpcTransport(url.address)

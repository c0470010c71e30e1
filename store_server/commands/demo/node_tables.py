"""The node's tables, opened over gRPC."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from store_server.commands.demo.tables import table_name
from store_server.commands.demo.timed_table import TimedTable
from store_server.commands.failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from store_server.storage import TableSpec

# Generous: that a machine is overloaded is no reason to fail.
_TIMEOUT_SECONDS: Final = 60.0


@contextmanager
def node_tables(address: str, specs: Mapping[int, TableSpec]) -> Iterator[dict[int, TimedTable]]:
    """Connect to a node and yield its tables by layer; the client compares the fingerprints of the hash.

    Raises CommandFailed when the client fails, here or in the block.
    """
    from engram_client import EngramError, connect_blocking

    try:
        # The store closes before the watchers do: they would wait for fetches that nobody wants any more.
        with (
            ThreadPoolExecutor(len(specs)) as watchers,
            connect_blocking(f"grpc://{address}", timeout=_TIMEOUT_SECONDS) as store,
        ):
            yield {
                layer: TimedTable(store.table(table_name(layer), fingerprint=spec.fingerprint), watchers)
                for layer, spec in specs.items()
            }
    except EngramError as error:
        raise CommandFailed(f"the rows could not be fetched: {error}") from error

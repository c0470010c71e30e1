"""Living publishers in etcd: each has a key under a lease, which it renews."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from store_server.cluster.agreement.etcd_lease import EtcdLease, changes_under

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from store_server.cluster.agreement.etcd_connection import EtcdConnection
    from store_server.cluster.agreement.etcd_url import EtcdUrl


class EtcdPublishers:
    """See PublisherRegistry. The connection belongs to who made it."""

    def __init__(self, etcd: EtcdConnection, url: EtcdUrl, lease_seconds: int) -> None:
        self._etcd = etcd
        self._prefix = url.publishers_prefix
        self._lease = EtcdLease(etcd, lease_seconds)
        self._said: tuple[str, int] | None = None

    async def register(self, publisher: str) -> None:
        """See PublisherRegistry.register."""
        said = publisher, await self._lease.renewed()
        if said != self._said:
            await self._etcd.put(self._prefix + publisher.encode(), b"", lease=said[1])
            self._said = said

    async def leave(self) -> None:
        """See PublisherRegistry.leave."""
        await self._lease.revoke()

    async def watch(self) -> AsyncGenerator[frozenset[str], None]:
        """See PublisherRegistry.watch."""
        present: set[str] = set()
        async with contextlib.aclosing(changes_under(self._etcd, self._prefix)) as changes:
            async for changed in changes:
                present -= changed.keys()
                present |= {name for name, value in changed.items() if value is not None}
                yield frozenset(present)

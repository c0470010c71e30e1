"""A lease in etcd and the keys under it: what stands there goes when nobody renews the lease any more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aetcd import rpc

from store_server.cluster.agreement.etcd_connection import prefix_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from store_server.cluster.agreement.etcd_connection import EtcdConnection


class EtcdLease:
    """The lease of one process. The connection belongs to who made it. Raises MapSourceFailed."""

    def __init__(self, etcd: EtcdConnection, seconds: int) -> None:
        self._etcd = etcd
        self._seconds = seconds
        self._lease: int | None = None

    async def renewed(self) -> int:
        """Return the lease, which lasts for its whole time again: another one if it was over."""
        if self._lease is None or not await self._etcd.renew_lease(self._lease):
            self._lease = await self._etcd.grant_lease(self._seconds)
        return self._lease

    async def revoke(self) -> None:
        """Let go of it and of what stands under it."""
        if self._lease is not None:
            lease, self._lease = self._lease, None
            await self._etcd.revoke_lease(lease)


async def changes_under(etcd: EtcdConnection, prefix: bytes) -> AsyncGenerator[Mapping[str, bytes | None], None]:
    """Yield the values of all keys behind a prefix, then each time those that have changed, None for one that has gone.

    Ends with MapSourceFailed, as a watch does.
    """
    end = prefix_end(prefix)
    found = await etcd.range(prefix, end)
    yield {_name(item.key, prefix): item.value for item in found.kvs}
    # From the very next change on: nothing is missed between the two.
    async with contextlib.aclosing(etcd.watch(prefix, end, found.header.revision + 1)) as changes:
        async for events in changes:
            yield {
                _name(event.kv.key, prefix): None if event.type == rpc.Event.DELETE else event.kv.value
                for event in events
            }


def _name(key: bytes, prefix: bytes) -> str:
    return key.removeprefix(prefix).decode(errors="replace")

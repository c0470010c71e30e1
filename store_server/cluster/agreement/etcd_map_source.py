"""The shard map in etcd: one value, replaced by compare-and-swap."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aetcd import rpc

from engram_store.shard_map import InvalidShardMap, parse_shard_map, to_message
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.next_map.map_size import size_complaint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engram_store.shard_map import ShardMap
    from store_server.cluster.agreement.etcd_cluster_id import EtcdClusterId
    from store_server.cluster.agreement.etcd_connection import EtcdConnection
    from store_server.cluster.agreement.etcd_url import EtcdUrl


class EtcdMapSource:
    """See MapSource. The connection belongs to who made it."""

    def __init__(self, etcd: EtcdConnection, url: EtcdUrl, cluster_id: EtcdClusterId | None = None) -> None:
        """`cluster_id` is looked at before a map is followed; None for who belongs to no cluster."""
        self._etcd = etcd
        self._cluster_id = cluster_id
        self._key = url.map_key
        self._cluster = url.name

    async def follow(self) -> AsyncIterator[ShardMap | None]:
        """See MapSource.follow."""
        if self._cluster_id is not None:
            await self._cluster_id.require_own()
        found = await self._etcd.range(self._key)
        yield await self._own_map_in(found.kvs[0].value if found.kvs else None)
        # From the very next change on: nothing is missed between the two.
        async with contextlib.aclosing(self._etcd.watch(self._key, b"", found.header.revision + 1)) as changes:
            async for events in changes:
                yield await self._own_map_in(None if events[-1].type == rpc.Event.DELETE else events[-1].kv.value)

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        """See MapSource.compare_and_swap."""
        if too_large := size_complaint(shard_map):
            raise MapSourceFailed(too_large)
        value = to_message(shard_map).SerializeToString(deterministic=True)
        found = await self._etcd.range(self._key)
        there = self._map_in(found.kvs[0].value if found.kvs else None)
        if (0 if there is None else there.epoch) != expected_epoch:
            return False
        unchanged = rpc.Compare(
            key=self._key,
            target=rpc.Compare.MOD,
            result=rpc.Compare.EQUAL,
            mod_revision=found.kvs[0].mod_revision if found.kvs else 0,
        )
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=self._key, value=value))
        get = rpc.RequestOp(request_range=rpc.RangeRequest(key=self._key))
        answer = await self._etcd.transact(unchanged, put, get)
        return bool(answer.succeeded) or self._is_stored(shard_map, value, answer.responses[0].response_range.kvs)

    def _is_stored(self, shard_map: ShardMap, value: bytes, found: Any) -> bool:  # noqa: ANN401
        """Tell whether a map that could not be put is what is there: its answer was lost, and it was sent once more.

        Raises MapSourceFailed if it may have been there, and others have stored theirs since.
        """
        if not found or found[0].value == value:
            return bool(found)
        there = self._map_in(found[0].value)
        if there is not None and there.epoch > shard_map.epoch:
            raise MapSourceFailed(
                f"etcd, {self._key.decode()}: it cannot be told whether the map of epoch {shard_map.epoch} was stored, "
                f"as that of epoch {there.epoch} is there by now: look at what it says before you try again"
            )
        return False

    async def _own_map_in(self, value: Any) -> ShardMap | None:  # noqa: ANN401  # as below
        found = self._map_in(value)
        if found is not None and self._cluster_id is not None and not self._cluster_id.is_known:
            await self._cluster_id.require_own()  # the cluster has just begun
        return found

    def _map_in(self, value: Any) -> ShardMap | None:  # noqa: ANN401  # bytes, from a message without types
        if value is None:
            return None
        where = f"etcd, {self._key.decode()}"
        try:
            shard_map = parse_shard_map(value)
        except InvalidShardMap as error:
            raise MapSourceFailed(f"{where}: {error}") from error
        if shard_map.cluster != self._cluster:
            raise MapSourceFailed(f"{where}: holds the map of another cluster, {shard_map.cluster!r}")
        return shard_map

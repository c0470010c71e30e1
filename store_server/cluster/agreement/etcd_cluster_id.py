"""Which cluster is in an etcd: an id, drawn once, against the one that a node keeps.

A node that is pointed at the etcd of another cluster of the same name must do nothing there: of two maps the newer
counts, so that it would overwrite the map of all others with its own, or take theirs and remove what it copied.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from aetcd import rpc

from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.registry import ClusterNotOwn
from store_server.cluster.kept_cluster_id import is_cluster_id

if TYPE_CHECKING:
    from store_server.cluster.agreement.etcd_connection import EtcdConnection
    from store_server.cluster.agreement.etcd_url import EtcdUrl
    from store_server.cluster.kept_cluster_id import KeptClusterId


class EtcdClusterId:
    """The connection belongs to who made it. Raises MapSourceFailed, ClusterNotOwn.

    Nodes of releases before this one neither draw an id nor look at one.
    """

    def __init__(self, etcd: EtcdConnection, url: EtcdUrl, kept: KeptClusterId) -> None:
        self._etcd = etcd
        self._url = url
        self._kept = kept
        self._turn = asyncio.Lock()  # a registry and a source of maps may look at once

    @property
    def is_known(self) -> bool:
        """Whether the node knows the id of its cluster."""
        return bool(self._kept.value)

    async def require_own(self) -> None:
        """See to it that etcd holds the node's own cluster.

        An etcd that has lost it, or never had one, is given the id that the node keeps. A new one is drawn only where
        there is a map: one that is not there may be with nodes that know the id, too, and are about to come back.
        """
        async with self._turn:
            there = await self._there()
            if not there and (self._kept.value or await self._has_map()):
                there = await self._settled(self._kept.value or secrets.token_hex(16))
            if there and self._kept.value and there != self._kept.value:
                raise ClusterNotOwn(self._kept.root, there=self._name(), kept=self._kept.value, found=there)
            if there:
                await asyncio.to_thread(self._kept.take, there)

    async def _there(self) -> str:
        found = await self._etcd.range(self._url.id_key)
        return self._id_in(found.kvs[0].value) if found.kvs else ""

    async def _has_map(self) -> bool:
        return bool((await self._etcd.range(self._url.map_key)).kvs)

    async def _settled(self, cluster_id: str) -> str:
        """Store an id where none is; returns the one that is there then."""
        key = self._url.id_key
        none_there = rpc.Compare(key=key, target=rpc.Compare.VERSION, result=rpc.Compare.EQUAL, version=0)
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=cluster_id.encode()))
        get = rpc.RequestOp(request_range=rpc.RangeRequest(key=key))
        answer = await self._etcd.transact(none_there, put, get)
        return cluster_id if answer.succeeded else self._id_in(answer.responses[0].response_range.kvs[0].value)

    def _id_in(self, value: bytes) -> str:
        found = value.decode(errors="replace")
        if not is_cluster_id(found):
            raise MapSourceFailed(f"{self._name()}: {found!r:.200} is no id of a cluster")
        return found

    def _name(self) -> str:
        return f"etcd at {','.join(self._url.endpoints)}, {self._url.id_key.decode()}"

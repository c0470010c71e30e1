"""Living nodes in etcd: each has a value under a lease, which it renews."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import structlog
from aetcd import rpc

from store_server.cluster.agreement.etcd_lease import EtcdLease, changes_under
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.registry import NodeIdTaken
from store_server.cluster.registration import InvalidRegistration, NodeRegistration

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from store_server.cluster.agreement.etcd_cluster_id import EtcdClusterId
    from store_server.cluster.agreement.etcd_connection import EtcdConnection
    from store_server.cluster.agreement.etcd_url import EtcdUrl

log = structlog.get_logger()


class EtcdRegistry:
    """See Registry. The connection belongs to who made it."""

    def __init__(
        self, etcd: EtcdConnection, url: EtcdUrl, lease_seconds: int, cluster_id: EtcdClusterId | None = None
    ) -> None:
        """`cluster_id` is looked at before this node is registered; None for who only watches."""
        self._etcd = etcd
        self._cluster_id = cluster_id
        self._prefix = url.nodes_prefix
        self._lease = EtcdLease(etcd, lease_seconds)
        self._said: tuple[NodeRegistration, int] | None = None
        self._was_registered = False

    async def register(self, registration: NodeRegistration, *, again: bool = False) -> None:
        """See Registry.register."""
        said = registration, await self._lease.renewed()
        if again or said != self._said:
            await self._say(*said)
            self._said, self._was_registered = said, True

    async def leave(self) -> None:
        """See Registry.leave."""
        await self._lease.revoke()

    async def watch(self) -> AsyncGenerator[Mapping[str, NodeRegistration], None]:
        """See Registry.watch."""
        present: dict[str, NodeRegistration] = {}
        async with contextlib.aclosing(changes_under(self._etcd, self._prefix)) as changes:
            async for changed in changes:
                for node_id, value in changed.items():
                    self._note(present, node_id, value)
                yield dict(present)

    def _note(self, present: dict[str, NodeRegistration], node_id: str, value: bytes | None) -> None:
        present.pop(node_id, None)
        if value is None:
            return
        try:
            registration = NodeRegistration.from_json(value)
        except InvalidRegistration as error:
            log.error("registration cannot be used", node=node_id, error=str(error))
            return
        if registration.node.id != node_id:
            log.error("registration of another node", node=node_id, found=registration.node.id)
            return
        present[node_id] = registration

    async def _say(self, registration: NodeRegistration, lease: int) -> None:
        """Put the registration where nobody's is, or this node's own: found unchanged since it was looked at."""
        if self._cluster_id is not None:
            await self._cluster_id.require_own()
        key = self._prefix + registration.node.id.encode()
        value = registration.to_json()
        get = rpc.RequestOp(request_range=rpc.RangeRequest(key=key))
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))
        answer = await self._etcd.transact(_unchanged(key, 0), put, get)
        if answer.succeeded:
            return
        found = answer.responses[0].response_range.kvs
        self._require_own(found, registration)
        answer = await self._etcd.transact(_unchanged(key, found[0].mod_revision if found else 0), put)
        if not answer.succeeded:
            raise MapSourceFailed(f"etcd: {key.decode()} changed while this node registered")

    def _require_own(self, found: Any, registration: NodeRegistration) -> None:  # noqa: ANN401
        try:
            other = NodeRegistration.from_json(found[0].value) if found else registration
        except InvalidRegistration:
            return  # nobody can use it
        is_former_life = other.node.address == registration.node.address and not self._was_registered
        if other.incarnation != registration.incarnation and not is_former_life:
            raise NodeIdTaken(registration.node.id, other.node.address, registration.node.address)


def _unchanged(key: bytes, revision: int) -> Any:  # noqa: ANN401
    return rpc.Compare(key=key, target=rpc.Compare.MOD, result=rpc.Compare.EQUAL, mod_revision=revision)

"""Where the living nodes and publishers of a cluster are known: two small interfaces, whatever keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from store_server.cluster.agreement.map_source import MapSourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping
    from pathlib import Path

    from store_server.cluster.registration import NodeRegistration


class NodeIdTaken(Exception):
    """Another living node has this node's id."""

    def __init__(self, node_id: str, address: str, own_address: str) -> None:
        super().__init__(
            f"node id {node_id} belongs to a living node at {address}, this one is at {own_address}: give this one an "
            "id of its own, or stop the other"
        )


class RegistryRefuses(MapSourceFailed):
    """The registry answers, and does not let this node in: another attempt would fare no better."""


class ClusterNotOwn(RegistryRefuses):
    """Another cluster of the same name is there than the one that the node belongs to."""

    def __init__(self, root: Path, *, there: str, kept: str, found: str) -> None:
        super().__init__(
            f"{there}: this is cluster {found}, and data root {root} belongs to another of that name, {kept}: correct "
            f"--cluster; if the node is to move here for good, remove map.json and id in {root / 'cluster'}: it takes "
            "away what it copied for the other then; if this etcd lost what it knew, see docs/operate.md, Several nodes"
        )


class Registry(Protocol):
    """Keeps what each living node says of itself, for as long as it goes on saying it. Raises MapSourceFailed."""

    async def register(self, registration: NodeRegistration, *, again: bool = False) -> None:
        """See to it that others see this for another lease time; `again` where they seem to see something else.

        A node's former life at the same address gives way at once, another living node with its id never does. Raises
        NodeIdTaken, ClusterNotOwn.
        """
        ...

    async def leave(self) -> None:
        """Take the registration away."""
        ...

    def watch(self) -> AsyncGenerator[Mapping[str, NodeRegistration], None]:
        """Yield everybody who is registered, by id, and from then on the same after each change."""
        ...


class PublisherRegistry(Protocol):
    """Keeps who is publishing, for as long as each goes on saying so. Raises MapSourceFailed."""

    async def register(self, publisher: str) -> None:
        """See to it that others see a publisher for another lease time."""
        ...

    async def leave(self) -> None:
        """Take it away."""
        ...

    def watch(self) -> AsyncGenerator[Collection[str], None]:
        """Yield everybody who is registered, and from then on the same after each change."""
        ...

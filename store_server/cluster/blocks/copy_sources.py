"""Where a node may copy from: the other nodes of its map, and beside them what its operator allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.access.allowed_sources import AllowedSources, SourceNotAllowed
from store_server.cluster.blocks.block_source import BlockSource, InvalidSourceUrl, NoSource, block_source
from store_server.cluster.node_channel import NodeChannels
from store_server.cluster.node_security import CannotSpeakTo

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap


class CopySources:
    """Opens the sources that a shard map names. For any thread."""

    def __init__(self, channels: NodeChannels | None = None, allowed: AllowedSources | None = None) -> None:
        self._channels = channels or NodeChannels()
        self._allowed = allowed or AllowedSources.parse(())
        self._nodes: frozenset[str] = frozenset()

    @property
    def scheme(self) -> str:
        """How URLs of nodes begin."""
        return self._channels.security.scheme

    def know(self, shard_map: ShardMap) -> None:
        """Take the nodes of a map for what needs no leave: rows go from one to the other in any case."""
        self._nodes = frozenset(f"{self.scheme}://{node.address}" for node in shard_map.nodes)

    def open(self, url: str) -> BlockSource:
        """Return the source at a URL, and for one that is of no use one that fails: those beside it may give all."""
        try:
            if url not in self._nodes:
                self._allowed.require(url)
            return block_source(url, channels=self._channels, allowed=self._allowed)
        except (InvalidSourceUrl, CannotSpeakTo, SourceNotAllowed) as error:
            return NoSource(url, str(error))

"""What nodes say of the newest shard map, and which of it is to be believed: a node may be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_client.errors import ProtocolError
from engram_store.shard_map import InvalidShardMap, ShardMap, from_message

if TYPE_CHECKING:
    from engram_store.v1.cluster_service_pb2 import GetShardMapResponse


class MapClaims:
    """Maps newer than `known`, as nodes tell of them.

    One is to be believed if a second node says the same or knows a newer one, or if nobody else answers. So a node
    with a map of its own making, of whatever epoch, leads nobody astray; one that is only ahead of the others is
    believed as soon as one of them has caught up.
    """

    def __init__(self, known: ShardMap) -> None:
        self._known = known
        self._maps: list[ShardMap] = []

    def hear(self, response: GetShardMapResponse) -> None:
        """Take note of what one more node says; raises ProtocolError if that cannot be right."""
        if response.HasField("map") and response.map.epoch > self._known.epoch:
            self._maps.append(self._checked(response))

    def confirmed(self) -> ShardMap | None:
        """Return the newest map for which there is the word of two nodes."""
        confirmed = [each for each in self._maps if self._words_for(each) > 1]
        return max(confirmed, key=lambda each: (each.epoch, self._maps.count(each)), default=None)

    def newest(self) -> ShardMap | None:
        """Return the newest map that anybody told of, for where nobody else answers."""
        return max(self._maps, key=lambda each: each.epoch, default=None)

    def _words_for(self, claimed: ShardMap) -> int:
        return sum(each == claimed or each.epoch > claimed.epoch for each in self._maps)

    def _checked(self, response: GetShardMapResponse) -> ShardMap:
        if response.map.cluster != self._known.cluster:
            raise ProtocolError(
                f"a node of cluster {self._known.cluster!r} hands out the map of cluster {response.map.cluster!r}"
            )
        try:
            return from_message(response.map)
        except InvalidShardMap as error:
            raise ProtocolError(f"shard map of epoch {response.map.epoch}: {error}") from error

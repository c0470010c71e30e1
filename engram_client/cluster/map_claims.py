"""What nodes say of the newest shard map, and which of it is to be believed: a node may be wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from engram_client.errors import ProtocolError
from engram_store.shard_map import MAX_MAP_BYTES, InvalidShardMap, ShardMap, from_message

if TYPE_CHECKING:
    from engram_store.v1 import cluster_service_pb2 as pb

_AT_ONCE_BYTES: Final = 8 << 10  # some milliseconds of parsing; a larger map would hold up all fetches


class MapClaims:
    """Maps newer than `known`, as nodes tell of them.

    One is to be believed if a second node says the same or knows a newer one, or if nobody else answers. So a node
    with a map of its own making, of whatever epoch, leads nobody astray; one that is only ahead of the others is
    believed as soon as one of them has caught up.
    """

    def __init__(self, known: ShardMap) -> None:
        self._known = known
        self._maps: list[ShardMap] = []
        self._parsed: dict[bytes, ShardMap] = {}

    async def hear(self, response: pb.GetShardMapResponse) -> None:
        """Take note of what one more node says; raises ProtocolError if that cannot be right."""
        if response.HasField("map") and response.map.epoch > self._known.epoch:
            self._maps.append(await self._checked(response.map))

    def confirmed(self) -> ShardMap | None:
        """Return the newest map for which there is the word of two nodes."""
        confirmed = [each for each in self._maps if self._words_for(each) > 1]
        return max(confirmed, key=lambda each: (each.epoch, self._maps.count(each)), default=None)

    def newest(self) -> ShardMap | None:
        """Return the newest map that anybody told of, for where nobody else answers."""
        return max(self._maps, key=lambda each: each.epoch, default=None)

    def _words_for(self, claimed: ShardMap) -> int:
        return sum(each == claimed or each.epoch > claimed.epoch for each in self._maps)

    async def _checked(self, message: pb.ShardMap) -> ShardMap:
        if message.cluster != self._known.cluster:
            raise ProtocolError(
                f"a node of cluster {self._known.cluster!r} hands out the map of cluster {message.cluster!r}"
            )
        _check_size(message)
        serialized = message.SerializeToString(deterministic=True)
        if serialized not in self._parsed:  # most often all nodes say the very same
            self._parsed[serialized] = await parsed(message)
        return self._parsed[serialized]


async def parsed(message: pb.ShardMap) -> ShardMap:
    """Return a map that a node hands out, without keeping the loop waiting; raises ProtocolError if it is wrong."""
    _check_size(message)
    try:
        if message.ByteSize() <= _AT_ONCE_BYTES:
            return from_message(message)
        return await asyncio.to_thread(from_message, message)
    except InvalidShardMap as error:
        raise ProtocolError(f"shard map of epoch {message.epoch}: {error}") from error


def _check_size(message: pb.ShardMap) -> None:
    if message.ByteSize() > MAX_MAP_BYTES:
        raise ProtocolError(
            f"shard map of epoch {message.epoch}: it has {message.ByteSize():,} bytes, at most {MAX_MAP_BYTES:,} are "
            "possible"
        )

"""The newest shard map that any node has told of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from engram_client.errors import EngramError, ProtocolError, StoreClosed
from engram_store.shard_map import InvalidShardMap, ShardMap, from_message

if TYPE_CHECKING:
    from engram_store.v1.cluster_service_pb2 import GetShardMapResponse

_ASK_SECONDS: Final = 1.0  # of one node, before the next one is asked
_ASKED_FOR_NEWS: Final = 3  # nodes that may lag behind: so many are asked before what they all say counts as the newest

# Asks one node, by its address, for a map newer than an epoch, within seconds.
AskForMap: TypeAlias = "Callable[[str, int, float], Awaitable[GetShardMapResponse]]"


class ShardMapCache:
    """Keeps the newest map and asks nodes for a newer one. It only goes forward: an older map is never taken.

    `addresses` are the nodes to ask, in this order; `changed` is called with each map that is taken.
    """

    def __init__(
        self,
        first: ShardMap,
        ask: AskForMap,
        addresses: Callable[[], Sequence[str]],
        changed: Callable[[ShardMap], None],
    ) -> None:
        self.newest = first
        self._ask = ask
        self._addresses = addresses
        self._changed = changed
        self._looking: asyncio.Task[None] | None = None
        self._looked = asyncio.get_running_loop().time()

    async def look(self, at_least: int = 0) -> ShardMap:
        """Return the newest map after asking: some nodes for news, or all until one has an epoch of `at_least`.

        Who comes while somebody asks waits for the same answer. Nodes that do not answer are passed over. Raises
        StoreClosed if the store is closed meanwhile.
        """
        while True:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look(at_least))
                self._looking.add_done_callback(self._looked_for)
                mine = True
            else:
                mine = False
            looking = self._looking
            await asyncio.wait((looking,))  # who waits may be cancelled, and the task goes on for the others
            if looking.cancelled():  # by close(); their own cancellation it is not
                raise StoreClosed("the store was closed while it looked for a newer map")
            looking.result()
            if mine or not at_least or self.newest.epoch >= at_least:
                return self.newest

    def look_now_and_then(self, seconds: float) -> None:
        """Ask in the background if nobody has for so many seconds."""
        if self._looking is None and asyncio.get_running_loop().time() - self._looked > seconds:
            self._looking = asyncio.create_task(self._look(0))
            self._looking.add_done_callback(self._looked_for)

    async def close(self) -> None:
        """Ask no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def offer(self, response: GetShardMapResponse) -> bool:
        """Take the map in an answer if it is newer; tells whether it was. Raises ProtocolError if it is wrong."""
        if not response.HasField("map") or response.map.epoch <= self.newest.epoch:
            return False
        if response.map.cluster != self.newest.cluster:
            raise ProtocolError(
                f"a node of cluster {self.newest.cluster!r} hands out the map of cluster {response.map.cluster!r}"
            )
        try:
            self.newest = from_message(response.map)
        except InvalidShardMap as error:
            raise ProtocolError(f"shard map of epoch {response.map.epoch}: {error}") from error
        self._changed(self.newest)
        return True

    async def _look(self, at_least: int) -> None:
        answers = 0
        for address in self._addresses():
            try:
                is_newer = self.offer(await self._ask(address, self.newest.epoch, _ASK_SECONDS))
            except StoreClosed:
                return
            except EngramError:
                continue
            answers += 1
            if self.newest.epoch >= at_least and (is_newer or answers >= _ASKED_FOR_NEWS):
                return

    def _looked_for(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        self._looked = task.get_loop().time()

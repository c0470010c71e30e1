"""The newest shard map that any node has told of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from engram_client.cluster.map_claims import MapClaims
from engram_client.errors import (
    EngramError,
    InsecureUrl,
    InvalidCredentials,
    PermissionDenied,
    StoreClosed,
    Unauthenticated,
)
from engram_store.shard_map import ShardMap

if TYPE_CHECKING:
    from engram_store.v1.cluster_service_pb2 import GetShardMapResponse

_ASK_SECONDS: Final = 1.0  # of one node, before the next one is asked
_ASKED_FOR_NEWS: Final = 3  # nodes that may lag behind: so many are asked before what they all say counts as the newest
_ASKED_FOR_AN_EPOCH: Final = 8  # of which one has spoken
_NO_USE_TO_ASK_AGAIN: Final = (Unauthenticated, PermissionDenied, InvalidCredentials, InsecureUrl)

# Asks one node, by its address, for a map newer than an epoch, within seconds.
AskForMap: TypeAlias = "Callable[[str, int, float], Awaitable[GetShardMapResponse]]"


class ShardMapCache:
    """Keeps the newest map and asks nodes for a newer one. It only goes forward: an older map is never taken.

    A newer one is taken when MapClaims believes it. The `first` is taken on trust: the user has named who hands it out.

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
        self.num_heard = 0
        """How many answers have come, of all nodes."""
        self.refusal: EngramError | None = None
        """Why a node did not answer in the last look that it would be no use to ask again about."""
        self._claims = MapClaims(first)  # of those asked in this look
        self._ask = ask
        self._addresses = addresses
        self._changed = changed
        self._looking: asyncio.Task[None] | None = None
        self._looked = asyncio.get_running_loop().time()
        self._closed = False

    async def look(self, at_least: int = 0) -> ShardMap:
        """Return the newest map after asking: some nodes for news, more if `at_least` is an epoch to come.

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
        self._closed = True
        if self._looking is not None and not self._looking.get_loop().is_closed():
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def offer(self, response: GetShardMapResponse) -> bool:
        """Take note of what a node says; tells whether a newer map was taken. Raises ProtocolError if it is wrong."""
        await self._claims.hear(response)
        return self._take(self._claims.confirmed())

    def _take(self, believed: ShardMap | None) -> bool:
        if believed is None:
            return False
        self.newest = believed
        self._claims = MapClaims(believed)
        self._changed(believed)
        return True

    async def _look(self, at_least: int) -> None:
        self._claims, self.refusal = MapClaims(self.newest), None
        answers = 0
        for address in self._addresses():
            if self._closed:  # a link that breaks in the moment of a cancel answers it with a failure
                return
            try:
                is_newer = await self.offer(await self._ask(address, self.newest.epoch, _ASK_SECONDS))
            except StoreClosed:
                return
            except EngramError as error:
                if isinstance(error, _NO_USE_TO_ASK_AGAIN):
                    self.refusal = error
                continue
            answers += 1
            self.num_heard += 1
            enough = _ASKED_FOR_NEWS if self.newest.epoch >= at_least else _ASKED_FOR_AN_EPOCH
            if answers >= enough or (is_newer and self.newest.epoch >= at_least):
                return
        if answers == 1:
            self._take(self._claims.newest())

    def _looked_for(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        self._looked = task.get_loop().time()

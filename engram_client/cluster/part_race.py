"""One part of a fetch: its node is asked, other replicas too if it hesitates, and the first answer counts."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from engram_client.at_once import all_of
from engram_client.cluster.hedging import hedge_delay
from engram_client.cluster.linked_node import Load
from engram_client.cluster.overtaking import Overtaking
from engram_client.cluster.shard_split import places_within
from engram_client.errors import EngramError, Unavailable, VersionNotFound

if TYPE_CHECKING:
    from engram_client.arrays import Int64Array
    from engram_client.cluster.asking import Asking
    from engram_client.cluster.linked_node import NodePart


class PartRace:
    """Gets the rows of a part to `places` of the whole. No hedge goes to nodes `avoided`, by their ids.

    `rounds` as for Asking.ask.
    """

    def __init__(
        self, asking: Asking, part: NodePart, places: Int64Array | None, avoided: frozenset[str], rounds: int
    ) -> None:
        self.failures: dict[str, EngramError] = {}
        """What nodes failed with, by their ids."""
        self._asking = asking
        self._part = part
        self._places = places
        self._avoided = avoided | {part.node.id}
        self._rounds = rounds

    async def run(self) -> None:
        """End when the rows have come, or when nobody who was asked has them: then with the failure of the first.

        When this ends, nobody writes any more.
        """
        cluster = self._asking.cluster
        if self._asking.left > 0:  # else nothing is sent, which earns no hedge
            cluster.hedges.count_request()
            cluster.patience.count_request()
        async with Overtaking(self._hedge_delay(), self._hedge) as race:
            await self._asking.ask(self._part, self._places, self.failures, self._rounds)
        if race.has_overtaken:
            cluster.nodes.was_overtaken(self._part.node)

    def _hedge_delay(self) -> float | None:
        cluster = self._asking.cluster
        delay = hedge_delay(cluster.nodes.usual, self._part.work, cluster.settings)
        return None if delay is None else delay * cluster.hedges.delay_factor

    def _hedge(self) -> Coroutine[Any, Any, None] | None:
        parts = self._replicas()
        return self._ask_all(parts) if parts else None

    def _replicas(self) -> list[NodePart]:
        """Return how else the rows can be had, if they can and the budget allows it."""
        cluster = self._asking.cluster
        try:
            parts = cluster.split(self._asking.table, self._part.rows, self._avoided)
        except (VersionNotFound, Unavailable):  # by a newer map it has nobody; who was asked may have it still
            return []
        if any(part.node.id in self._avoided or not self._asking.is_spare(part.node) for part in parts):
            return []
        return parts if cluster.hedges.take(len(parts)) else []

    async def _ask_all(self, parts: list[NodePart]) -> None:
        loads = [Load(part.node, part.work) for part in parts]
        try:
            await all_of(
                self._asking.ask(part, places_within(self._places, part.places), self.failures, self._rounds)
                for part in parts
            )
        finally:
            for load in loads:
                load.end()

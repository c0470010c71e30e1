"""Bugs of a client, planted at its seams, and those of the placement, to see that the simulation finds such."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulation.links import SimulatedLink
from simulation.planted_placement import (
    CompletingEarly,
    CountingBlindly,
    FillingFullDisks,
    LeavingEarly,
    SwitchingAlone,
    WithoutGrace,
)
from simulation.stepping import SteppingOnce

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.cluster.hedging import HedgeBudget, HedgeSettings
from engram_client.cluster.linked_node import LinkedNode
from engram_client.cluster.linked_nodes import LinkedNodes
from engram_client.cluster.shard_map_cache import ShardMapCache
from engram_client.cluster.shard_split import ShardLayout
from engram_client.table_info import TableInfo
from engram_store.shard_map import ShardMap, from_message
from engram_store.v1.cluster_service_pb2 import GetShardMapResponse

_LONG_SECONDS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """What a simulated client is made of."""

    what: str
    link: type[SimulatedLink] = SimulatedLink
    transport_type: type[ClusterTransport] = ClusterTransport
    stepping: type[SteppingOnce] = SteppingOnce

    @property
    def is_of_placement(self) -> bool:
        """Whether only a placed cluster can show it."""
        return self.stepping is not SteppingOnce

    def transport(
        self, first: ShardMap, connect: Callable[[str], SimulatedLink], hedging: HedgeSettings, dice: random.Random
    ) -> ClusterTransport:
        return self.transport_type(first, connect, settings=hedging, dice=dice)


class _TakesAnyMap(ShardMapCache):
    async def offer(self, response: GetShardMapResponse) -> bool:
        if not response.HasField("map") or response.map.epoch == self.newest.epoch:
            return False
        self.newest = from_message(response.map)
        self._changed(self.newest)
        return True


class _WithStaleMaps(ClusterTransport):
    def __init__(self, first: ShardMap, *args: Any, **options: Any) -> None:
        super().__init__(first, *args, **options)
        self.maps = _TakesAnyMap(first, self._ask_for_map, self.nodes.addresses, self._take)


class _LeavesNobodyOut(LinkedNodes):
    def leave_out(self, node: LinkedNode) -> None:
        pass


class _WithoutBreaker(ClusterTransport):
    def __init__(self, first: ShardMap, connect: Callable[[str], SimulatedLink], **options: Any) -> None:
        super().__init__(first, connect, **options)
        self.nodes.__class__ = _LeavesNobodyOut


class _HearsNothing(LinkedNodes):
    def heard(self, node: LinkedNode) -> None:
        pass


class _AskingThoseWhoStop(ClusterTransport):
    def __init__(self, first: ShardMap, connect: Callable[[str], SimulatedLink], **options: Any) -> None:
        super().__init__(first, connect, **options)
        self.nodes.__class__ = _HearsNothing


class _Boundless(HedgeBudget):
    def take(self, number: int) -> bool:
        self.hedges += number
        return True


class _WithBoundlessHedges(ClusterTransport):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.hedges = _Boundless(self.settings)


class _WritesLateReplies(SimulatedLink):
    writes_late_replies = True


class _OneRowOff(ShardLayout):
    def groups_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint16]:
        return super().groups_of(np.maximum(rows - 1, 0))


class _SplittingOneRowOff(ClusterTransport):
    def _layout(self, table: TableInfo) -> ShardLayout:
        return _OneRowOff(self.maps.newest.versions[(table.name, table.version)])


class _WithoutTimeLimits(ClusterTransport):
    async def fetch(self, table: TableInfo, rows: NDArray[np.int64], out: NDArray[np.uint8], _: float) -> None:
        await super().fetch(table, rows, out, _LONG_SECONDS)


NOTHING_PLANTED = Plant(what="nothing")
PLANTS = {
    "stale-map": Plant(what="an older map is accepted", transport_type=_WithStaleMaps),
    "no-breaker": Plant(what="a node that fails is never left out", transport_type=_WithoutBreaker),
    "deaf": Plant(what="a node that announces its stop is asked as before", transport_type=_AskingThoseWhoStop),
    "hedges": Plant(what="hedges ignore their budget", transport_type=_WithBoundlessHedges),
    "late-writes": Plant(what="a reply writes into the buffer of a fetch that is over", link=_WritesLateReplies),
    "neighbour": Plant(
        what="the first row of a shard is asked of the shard before", transport_type=_SplittingOneRowOff
    ),
    "no-time-limit": Plant(what="a fetch goes on past its time limit", transport_type=_WithoutTimeLimits),
    "leaves-early": Plant(what="a holder leaves when another joins, not when that one has it", stepping=LeavingEarly),
    "no-grace": Plant(what="nodes that went away together are lost as soon as one alone", stepping=WithoutGrace),
    "blind": Plant(what="time in which nobody could be seen counts as time away", stepping=CountingBlindly),
    "switches-early": Plant(what="a version is current before all have it", stepping=CompletingEarly),
    "switches-alone": Plant(what="nodes make current what a dead publisher left", stepping=SwitchingAlone),
    "fills-full-disks": Plant(what="a node whose disk takes nothing is given more", stepping=FillingFullDisks),
}

"""The steps of the map, which all nodes take alike: each is computed once, and now and then again to compare."""

from collections.abc import Callable, Mapping

from simulation.nodes import SimulatedNode

from engram_store.shard_map import ShardMap
from store_server.cluster.next_map.map_steps import MapStep
from store_server.cluster.participation import Participation
from store_server.cluster.registration import NodeRegistration

_COMPARED = 16


class SharedSteps:
    """What followed from what. `violate` hears when two who propose would propose different maps."""

    def __init__(self, violate: Callable[[str], None]) -> None:
        self._known: dict[tuple[object, ...], tuple[object, MapStep]] = {}
        self._violate = violate
        self._taken = 0

    def taken_by(self, stepping: "type[SteppingOnce]") -> "type[SteppingOnce]":
        return type(stepping.__name__, (stepping,), {"steps": self})

    def take(
        self, situation: tuple[object, ...], present: Mapping[str, NodeRegistration], step: Callable[..., MapStep]
    ) -> MapStep:
        if situation not in self._known:
            self._known[situation] = present, step(present)
            self._taken += 1
            if self._taken % _COMPARED == 0:
                self._compare(self._known[situation][1], step(dict(reversed(present.items()))))
        return self._known[situation][1]

    def _compare(self, one: MapStep, other: MapStep) -> None:
        if one != other:
            self._violate(f"two nodes that see the same propose different maps: {one}, {other}")


class SteppingOnce(Participation):
    """A node's part in the cluster, which looks first whether another node has found the same step."""

    steps: SharedSteps
    node: SimulatedNode

    async def _take_step(self) -> None:
        await self.node.running()
        await super()._take_step()

    def _next(self, base: ShardMap | None, present: Mapping[str, NodeRegistration]) -> MapStep:
        situation = (base.epoch if base is not None else 0, id(present), self._waiting.over(base, present))
        return self.steps.take(situation, present, lambda seen: self.step(base, seen))

    def step(self, base: ShardMap | None, present: Mapping[str, NodeRegistration]) -> MapStep:
        """Return the step that the product takes."""
        return super()._next(base, present)

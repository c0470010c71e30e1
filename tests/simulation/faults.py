"""What befalls nodes. Never so much at once that some row has no replica which answers."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from simulation.agreed_map import Spread
from simulation.changes import Controller
from simulation.links import SimulatedLink
from simulation.nodes import SimulatedNode
from simulation.placement import Placement
from simulation.watch import World

from engram_store.shard_map import VersionKey


class Faults:
    """Draws faults, one a node at a time, and lets them end."""

    def __init__(
        self,
        world: World,
        controller: Controller | Placement,
        links_to: Callable[[int], list[SimulatedLink]],
        dice: random.Random,
        longest_seconds: float,
    ) -> None:
        self._world = world
        self._controller = controller
        self._links_to = links_to
        self._longest_seconds = longest_seconds
        self._dice = dice
        self._faulty: set[int] = set()
        # Whether rows are out of reach meanwhile, and how likely.
        self._kinds = {
            self._slow: (False, 2),
            self._now_and_then_slow: (False, 2),
            self._stopped: (True, 3),
            self._dead: (True, 3),
            self._dead_with_its_disk: (True, 2),
            self._announcing_its_stop: (True, 2),
            self._cut_off: (True, 2),
            self._damaged: (True, 1),
            self._lying: (False, 5),
            self._without_etcd: (False, 1),
        }

    async def strike_now_and_then(self, seconds: float, mean_pause: float) -> None:
        now = asyncio.get_running_loop().time
        end = now() + seconds
        async with asyncio.TaskGroup() as group:
            while now() + (pause := self._dice.expovariate(1 / mean_pause)) < end:
                await asyncio.sleep(pause)
                weights = [weight for _, weight in self._kinds.values()]
                kind = self._dice.choices(list(self._kinds), weights)[0]
                node = self._dice.choice(self._world.nodes)
                if node.number in self._faulty:
                    continue
                if self._kinds[kind][0] and not self._controller.is_covered(without=node.number):
                    continue
                self._faulty.add(node.number)
                group.create_task(self._suffer(node, kind))

    async def _suffer(
        self, node: SimulatedNode, kind: Callable[[SimulatedNode], AbstractAsyncContextManager[None]]
    ) -> None:
        seconds = self._dice.choice((0.2, 3.0, self._longest_seconds)) * self._dice.random()
        name = kind.__name__.strip("_").replace("_", " ")
        self._world.log.say(f"n{node.number}: {name}")
        async with kind(node):
            await asyncio.sleep(seconds)
        for link in self._links_to(node.number):
            link.first_failure = None
        self._world.log.say(f"n{node.number}: no longer {name}")
        self._faulty.discard(node.number)
        self._controller.tell(node)

    @asynccontextmanager
    async def _slow(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.extra_seconds += 0.2
        yield
        node.extra_seconds -= 0.2

    @asynccontextmanager
    async def _now_and_then_slow(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.slow_share = 0.05
        yield
        node.slow_share = 0.0

    @asynccontextmanager
    async def _stopped(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.is_stopped = True
        yield
        node.go_on()

    @asynccontextmanager
    async def _dead(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.die()
        yield
        node.is_up = True
        self._controller.refill(node)

    @asynccontextmanager
    async def _dead_with_its_disk(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.die()
        yield
        node.held.clear()
        node.takes_no_rows = False
        self._controller.lost_its_disk(node)
        node.is_up = True
        for link in self._links_to(node.number):
            link.first_failure = None  # it answers again: that it has nothing
        self._world.log.say(f"n{node.number}: back, and empty")
        self._controller.tell(node)
        await asyncio.sleep(self._dice.uniform(0, 3))
        self._controller.refill(node)

    @asynccontextmanager
    async def _announcing_its_stop(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.announces_stop = True
        await asyncio.sleep(self._dice.uniform(0, 1))
        node.refuses = True
        await asyncio.sleep(self._dice.uniform(0, 1))
        node.die()
        yield
        node.is_up = True
        self._controller.refill(node)

    @asynccontextmanager
    async def _cut_off(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.is_cut_off = True  # a link made meanwhile is cut as well
        for link in self._links_to(node.number):
            link.is_cut = True
        yield
        node.is_cut_off = False
        for link in self._links_to(node.number):
            link.mend()

    @asynccontextmanager
    async def _damaged(self, node: SimulatedNode) -> AsyncIterator[None]:
        node.damaged = {(key, shard) for key in sorted(node.held) for shard in sorted(node.held[key])}
        node.damaged = {each for each in sorted(node.damaged) if self._dice.random() < 0.5}
        yield
        node.damaged = set()

    @asynccontextmanager
    async def _lying(self, node: SimulatedNode) -> AsyncIterator[None]:
        """Hand out a map of long ago or, where a scenario allows it, a new one that nobody agreed on."""
        agreed = self._world.agreed
        if self._world.may_fail and self._dice.random() < 0.7:
            forged = {key: self._forged(spread) for key, spread in agreed.spreads.items()}
            node.hands_out = agreed.map_of(forged, agreed.newest.epoch + 1)
        else:
            node.hands_out = self._dice.choice(agreed.epochs)
        yield
        node.hands_out = None

    @asynccontextmanager
    async def _without_etcd(self, node: SimulatedNode) -> AsyncIterator[None]:  # noqa: ARG002  # it befalls all
        self._controller.etcd_is_away = True
        yield
        self._controller.etcd_is_away = False

    def _forged(self, spread: Spread) -> Spread:
        numbers = range(len(self._world.nodes))
        holders = [tuple(self._dice.sample(numbers, len(each))) for each in spread.holders]
        return Spread(VersionKey(*spread.key), spread.row_bytes, spread.ends, holders)

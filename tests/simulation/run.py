"""One seed from its beginning to its end: a cluster, its clients, what befalls it, and what is left of it."""

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from simulation.agreed_map import AgreedMap, number_at
from simulation.changes import Controller
from simulation.clock import Stuck, simulate
from simulation.ending import Ending
from simulation.event_log import EventLog
from simulation.faults import Faults
from simulation.links import SimulatedLink
from simulation.many_nodes import ManyNodes
from simulation.nodes import SimulatedNode
from simulation.placement import Placement
from simulation.planted import NOTHING_PLANTED, Plant
from simulation.readers import Reader
from simulation.scenario import Scenario
from simulation.watch import ClientWatch, World

SETS = {"model": ["layer-1", "layer-2"], "other": ["table-3"]}
_SLOWER_SECONDS = 0.02
_SAID_OF_FULL_DISKS = "the disk takes no more rows"


@dataclass(slots=True)
class Outcome:
    """What came of a seed."""

    seed: int
    violations: list[str]
    lines: list[str]
    """All that happened."""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of all that happened: the same for the same seed."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]


def run(scenario: Scenario, plant: Plant = NOTHING_PLANTED) -> Outcome:
    """Simulate a scenario, with a bug in the client if one is planted."""
    outcome: list[Outcome] = []
    random.seed(f"{scenario.seed}/what the product draws by itself")

    async def work() -> None:
        simulation = Simulation(scenario, plant)
        outcome.append(
            Outcome(scenario.seed, simulation.world.violations, simulation.world.log.lines, simulation.counts)
        )
        await simulation.run()

    with structlog.testing.capture_logs(processors=(structlog.processors.format_exc_info,)) as said:
        try:
            simulate(work())
        except Stuck as stuck:
            outcome[0].violations.append(str(stuck))
    outcome[0].violations += [
        f"said in a node's log: {each}"
        for each in said
        if each["log_level"] == "error" and each["event"] != _SAID_OF_FULL_DISKS
    ]
    return outcome[0]


class Simulation:
    """The parts of one seed and the order in which they act."""

    def __init__(self, scenario: Scenario, plant: Plant) -> None:
        self._scenario = scenario
        self._plant = plant
        agreed = AgreedMap(scenario.num_nodes, scenario.replicas, scenario.dice("maps"))
        log = EventLog()
        nodes = [
            SimulatedNode(
                number, agreed, None, scenario.dice(f"node {number}"), speed_of(scenario.dice(f"speed {number}"))
            )
            for number in range(scenario.num_nodes)
        ]
        self.counts: dict[str, int] = {}
        self.world = World(agreed, nodes, log, may_fail=scenario.forges_maps)
        self._controller: Controller | Placement
        if scenario.is_placed:
            self._controller = Placement(scenario, SETS, agreed, nodes, log, self.world.violate, plant.stepping)
        else:
            self._controller = Controller(agreed, nodes, scenario.dice("changes"), log)
            self._controller.begin(SETS, scenario.dice("tables"))
        self._watches: list[ClientWatch] = []

    async def run(self) -> None:
        scenario, loop = self._scenario, asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: self.world.violate(f"nobody took {context.get('exception', context)!r}")
        )
        if scenario.is_large:
            self.counts["moves"] = self._place_many()
        if isinstance(self._controller, Placement):
            await self._controller.begin()
        self._watches = [self._client(number) for number in range(scenario.num_clients)]
        async with asyncio.TaskGroup() as group:
            faults = Faults(
                self.world, self._controller, self._links_to, scenario.dice("faults"), scenario.longest_fault_seconds
            )
            group.create_task(faults.strike_now_and_then(scenario.seconds, scenario.seconds_between_faults))
            group.create_task(self._controller.change_now_and_then(scenario.seconds, scenario.seconds_between_changes))
            if scenario.ends_slower:
                group.create_task(self._become_slower())
            for watch in self._watches:
                for number in range(scenario.readers):
                    dice = scenario.dice(f"{watch.name} reader {number}")
                    reader = Reader(watch, [name for names in SETS.values() for name in names], dice)
                    group.create_task(reader.read(scenario.fetches_a_reader, scenario.seconds))
        if isinstance(self._controller, Placement):
            await self._controller.come_to_rest()
            await self._controller.stop()
        else:
            self._controller.heal()
        for node in self.world.nodes:
            node.base_seconds = lambda: 0.001
        ending = Ending(self.world, scenario)
        await ending.see_all_return(self._watches)
        for watch in self._watches:
            await ending.close(watch)
        self._count()

    # Parts

    def _client(self, number: int) -> ClientWatch:
        watch = ClientWatch(self.world, f"client {number}", self._scenario.hedging)

        def connect(address: str) -> SimulatedLink:
            link = self._plant.link(self.world.nodes[number_at(address)], watch)
            watch.links.append(link)
            return link

        dice = self._scenario.dice(f"client {number}")
        watch.transport = self._plant.transport(self.world.agreed.newest, connect, self._scenario.hedging, dice)
        return watch

    def _place_many(self) -> int:
        """Return how many maps moved something."""
        many = ManyNodes(self._scenario, self.world.violate, self.world.log.say)
        try:
            many.live()
        except AssertionError as error:
            self.world.violate(f"placement of many nodes: {error}")
        return many.moves

    def _links_to(self, number: int) -> list[SimulatedLink]:
        return [
            link for watch in self._watches for link in watch.links if link.node.number == number and not link.is_closed
        ]

    async def _become_slower(self) -> None:
        await asyncio.sleep(self._scenario.seconds * self._scenario.dice("slower").random())
        self.world.log.say("all nodes become slower")
        for node in self.world.nodes:
            node.extra_seconds += _SLOWER_SECONDS

    def _count(self) -> None:
        for watch in self._watches:
            for name in ("fetches", "requests", "hedges", "late_replies"):
                self.counts[name] = self.counts.get(name, 0) + getattr(watch, name)
        self.counts["maps"] = len(self.world.agreed.epochs)
        if isinstance(self._controller, Placement):
            self.counts["placed"] = 1
            self.counts["moves"] = self._controller.watch.moves


def speed_of(dice: random.Random) -> Callable[[], float]:
    """Return how long a node takes: about always the same, or now and then longer."""
    usual = dice.uniform(0.0003, 0.002)
    kind = dice.choice(("even", "uneven", "tailed"))
    if kind == "even":
        return lambda: usual * dice.uniform(0.9, 1.1)
    if kind == "uneven":
        return lambda: usual * dice.uniform(0.5, 3.0)
    return lambda: usual * dice.lognormvariate(0.0, 0.7)

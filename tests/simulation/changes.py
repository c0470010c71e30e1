"""Changes of the map under load: shards that move, and versions that are published, switched and dropped."""

import asyncio
import random

from simulation.agreed_map import AgreedMap, Spread, spread_at_random
from simulation.event_log import EventLog
from simulation.nodes import SimulatedNode
from simulation.scenario import ROW_BYTES

from engram_store.shard_map import VersionKey

_MOST_LAG_SECONDS = 0.3
_MOST_COPYING_SECONDS = 1.0


class Controller:
    """Changes the agreed map, step by step; every node learns of it a little later."""

    def __init__(self, agreed: AgreedMap, nodes: list[SimulatedNode], dice: random.Random, log: EventLog) -> None:
        self.agreed, self.nodes = agreed, nodes
        self.etcd_is_away = False
        self._dice = dice
        self._log = log
        self._newest_version = 1

    def begin(self, sets: dict[str, list[str]], dice: random.Random) -> None:
        """Let there be a first version of every table, which all nodes know and hold."""
        for name, tables in sets.items():
            for table in tables:
                key = VersionKey(table, "v1")
                self.agreed.add(
                    spread_at_random(key, dice.choice(ROW_BYTES), len(self.nodes), self.agreed.replicas, dice)
                )
            self.agreed.make_current(name, dict.fromkeys(tables, "v1"))
        first = self.agreed.agree()
        for node in self.nodes:
            node.learn(first)
        for spread in self.agreed.spreads.values():
            self.hand_out(spread)

    def heal(self) -> None:
        """Let every node have all that it is to hold, and know it soon."""
        self.agree("nothing is wrong any more")
        for node in self.nodes:
            self.refill(node)

    def is_covered(self, *, without: int | None = None, spreads: list[Spread] | None = None) -> bool:
        """Tell whether each shard has a holder that answers, one node perhaps not counted."""
        for spread in self.agreed.spreads.values() if spreads is None else spreads:
            for shard, holders in enumerate(spread.holders):
                if not any(node != without and self.nodes[node].serves(spread.key, shard) for node in holders):
                    return False
        return True

    async def change_now_and_then(self, seconds: float, mean_pause: float) -> None:
        now = asyncio.get_running_loop().time
        end = now() + seconds
        while now() + (pause := self._dice.expovariate(1 / mean_pause)) < end:
            await asyncio.sleep(pause)
            if self.etcd_is_away:
                continue
            await (self.publish() if self._dice.random() < 0.3 else self.move())

    async def move(self) -> None:
        """Give a shard to another node, which fetches it first."""
        spread = self._dice.choice(list(self.agreed.spreads.values()))
        shard = self._dice.randrange(len(spread.holders))
        joining = self._dice.randrange(len(self.nodes))
        if joining in spread.holders[shard] or not self.nodes[joining].is_good:
            return
        leaving = self._dice.choice(spread.holders[shard])
        spread.joining[shard] = joining
        self.agree(f"n{joining} is to hold shard {shard} of {spread.key} for n{leaving}")
        await asyncio.sleep(self._dice.uniform(0, _MOST_COPYING_SECONDS))
        del spread.joining[shard]
        former = spread.holders[shard]
        if self.nodes[joining].is_good:
            self.nodes[joining].hold(spread.key, shard)
            spread.holders[shard] = tuple(joining if node == leaving else node for node in former)
        if spread.holders[shard] != former and self.is_covered(spreads=[spread]):
            self.nodes[leaving].drop_at(len(self.agreed.epochs) + 1, spread.key, shard)
        else:
            spread.holders[shard] = former
        self.agree(f"shard {shard} of {spread.key} is held by {spread.holders[shard]}")

    async def publish(self) -> None:
        """Make new versions of all tables of a set, switch to them together, and drop the old ones after a while."""
        name = self._dice.choice(list(self.agreed.current))
        former = self.agreed.current[name]
        self._newest_version += 1
        version = f"v{self._newest_version}"
        new = [self._spread_of(VersionKey(table, version)) for table in former]
        for spread in new:
            self.agreed.add(spread)
        self.agreed.pending[name] = dict.fromkeys(former, version)
        self.agree(f"{version} of {name} is being fetched")
        await asyncio.sleep(self._dice.uniform(0, _MOST_COPYING_SECONDS))
        for spread in new:
            self.hand_out(spread)
        while not self.is_covered(spreads=new):
            await asyncio.sleep(0.1)
        self.agreed.make_current(name, dict.fromkeys(former, version))
        self.agree(f"{version} of {name} is current")
        await asyncio.sleep(self._dice.uniform(0, 3.0))
        for table, old in former.items():
            key = VersionKey(table, old)
            spread = self.agreed.spreads.pop(key)
            for node in {node for holders in spread.holders for node in holders}:
                self.nodes[node].drop_at(len(self.agreed.epochs) + 1, key, None)
        self.agree(f"the versions before {version} of {name} are dropped")

    def hand_out(self, spread: Spread) -> None:
        """Let every holder have what it is to hold."""
        for shard, holders in enumerate(spread.holders):
            for node in holders:
                self.nodes[node].hold(spread.key, shard)

    def lost_its_disk(self, node: SimulatedNode) -> None:
        """Nothing: maps here do not follow from what nodes hold."""

    def refill(self, node: SimulatedNode) -> None:
        """Let a node have all that it is to hold."""
        node.damaged.clear()
        for spread in self.agreed.spreads.values():
            for shard, holders in enumerate(spread.holders):
                if node.number in holders:
                    node.hold(spread.key, shard)

    def tell(self, node: SimulatedNode) -> None:
        """Let a node learn of the newest map, a little later."""
        loop = asyncio.get_running_loop()
        loop.call_later(self._dice.uniform(0, _MOST_LAG_SECONDS), lambda: node.learn(self.agreed.newest))

    def agree(self, why: str) -> None:
        """Make the present state the next epoch, and let all nodes know."""
        made = self.agreed.agree()
        self._log.say(f"map {made.epoch}: {why}")
        for node in self.nodes:
            self.tell(node)

    def _spread_of(self, key: VersionKey) -> Spread:
        row_bytes = next(each.row_bytes for each in self.agreed.ever.values() if each.key.table == key.table)
        return spread_at_random(key, row_bytes, len(self.nodes), self.agreed.replicas, self._dice)

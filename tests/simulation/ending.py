"""The end of a seed: nothing is wrong any more, each node is asked again, and a closed client leaves nothing."""

import asyncio
from typing import Final

import numpy as np
from simulation.links import PendingQuestion, SimulatedLink
from simulation.nodes import SimulatedNode
from simulation.readers import Reader
from simulation.scenario import Scenario
from simulation.watch import AMPLE_SECONDS, ClientWatch, World

from engram_client.table_info import TableInfo
from engram_store.shard_map import VersionKey

RETURN_SECONDS: Final = 40.0
"""Within which every node is asked again once nothing is wrong: the longest pause between trials, and some trials."""
_LAST_REPLIES_SECONDS: Final = 1.0
_LEARNING_SECONDS: Final = 0.5  # until all nodes know the last map
_CROWD: Final = 8
_MOST_CROWDS: Final = 30
_BETWEEN_FETCHES_SECONDS: Final = 0.0001


class Ending:
    """What is done with each client when all faults are over."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._clients_left = scenario.num_clients

    async def see_all_return(self, watches: list[ClientWatch]) -> None:
        await asyncio.sleep(_LEARNING_SECONDS)
        if self._scenario.ends_slower:
            for watch in watches:
                await self._learn_what_is_usual(watch)
        await asyncio.sleep(RETURN_SECONDS)
        for watch in watches:
            await self._see_all_asked(watch)

    async def close(self, watch: ClientWatch) -> None:
        """Close a client, perhaps amid fetches, and look for what it leaves behind."""
        self._clients_left -= 1
        reading = await self._under_load(watch) if self._scenario.closes_under_load else []
        watch.is_closing = True
        self._world.log.say(f"{watch.name} is closed")
        await watch.transport.close()
        watch.closed = asyncio.get_running_loop().time()
        if reading:
            await asyncio.wait(reading)
            await asyncio.gather(*reading)
        self._look_for_leaks(watch)
        await asyncio.sleep(_LAST_REPLIES_SECONDS)
        watch.check_buffers()

    async def _see_all_asked(self, watch: ClientWatch) -> None:
        tables = await watch.transport.list_tables(AMPLE_SECONDS)
        holders = self._holders(tables)
        if self._scenario.ends_slower and 2 * len(holders) <= len(watch.transport.nodes):
            return  # most nodes have nothing to be asked for: that they are slower too nobody can know
        for number in sorted(holders):
            node = watch.transport.nodes.at(f"node-{number}")
            if node is None or not node.health.ready:
                self._world.violate(f"{watch.name} still leaves out n{number}, {RETURN_SECONDS:g} s after all was well")
        watch.asked_nodes.clear()
        reader = Reader(watch, [], self._scenario.dice("the end"))
        for table in tables:
            await reader.fetch(table, np.arange(0, table.num_rows, 5), AMPLE_SECONDS)
            await self._ask_for_each_shard(watch, reader, table)

    async def _ask_for_each_shard(self, watch: ClientWatch, reader: Reader, table: TableInfo) -> None:
        """Fetch from shards of which a holder was not asked, until it is."""
        spread = self._world.agreed.spreads[VersionKey(table.name, table.version)]
        for shard, holders in enumerate(spread.holders):
            last_row = spread.ends[shard : shard + 1] - 1
            for _ in range(_MOST_CROWDS):
                if watch.asked_nodes.issuperset(holders):
                    break
                async with asyncio.TaskGroup() as crowd:  # one by one, the quickest might get them all
                    for _ in range(_CROWD):
                        crowd.create_task(reader.fetch(table, last_row, AMPLE_SECONDS))
                        await asyncio.sleep(_BETWEEN_FETCHES_SECONDS)
            else:
                self._world.violate(f"{watch.name} does not ask all of {holders} any more, who hold shard {shard}")

    async def _learn_what_is_usual(self, watch: ClientWatch) -> None:
        """Fetch from all nodes: those that are ready answer slowly now too, which only their answers tell."""
        reader = Reader(watch, [], self._scenario.dice("what is usual"))
        for table in 3 * await watch.transport.list_tables(AMPLE_SECONDS):
            await reader.fetch(table, np.arange(0, table.num_rows, 5), AMPLE_SECONDS)

    def _holders(self, tables: list[TableInfo]) -> set[int]:
        spreads = [self._world.agreed.spreads[VersionKey(table.name, table.version)] for table in tables]
        return {node for spread in spreads for holders in spread.holders for node in holders}

    async def _under_load(self, watch: ClientWatch) -> list[asyncio.Task[bool]]:
        """Begin fetches, some of which have to look for a newer map, and let a while go by."""
        dice = self._scenario.dice(f"{watch.name} closes")
        tables = await watch.transport.list_tables(AMPLE_SECONDS)
        reader = Reader(watch, [], dice)
        newest = self._world.agreed.agree()
        for node in self._world.nodes:
            node.learn(newest)
            if dice.random() < 0.3:
                node.held.clear()
        reading = [
            asyncio.create_task(reader.fetch(table, np.arange(table.num_rows), AMPLE_SECONDS)) for table in 2 * tables
        ]
        await asyncio.sleep(dice.uniform(0, 0.01))
        return reading

    def _look_for_leaks(self, watch: ClientWatch) -> None:
        loop = asyncio.get_running_loop()
        for link in watch.links:
            if not link.is_released:
                self._world.violate(f"{watch.name} closed and left a link to n{link.node.number} half open")
        ours = (SimulatedNode, SimulatedLink, PendingQuestion)
        if self._clients_left == 0:
            for task in asyncio.all_tasks(loop) - {asyncio.current_task()}:
                self._world.violate(f"{watch.name} closed and left a task: {task.get_coro()}")
            for timer in loop._scheduled:
                owner = getattr(timer._callback, "__self__", None)
                if not timer.cancelled() and not isinstance(owner, ours):
                    self._world.violate(f"{watch.name} closed and left a timer: {timer!r}")

"""One fetch from many nodes: it is over when all its rows have come, from whichever replica."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from engram_client.cluster.hedging import HedgeBudget, HedgeSettings, hedge_delay, patience
from engram_client.cluster.latency import units
from engram_client.cluster.linked_node import Load
from engram_client.cluster.overtaking import Overtaking
from engram_client.errors import (
    EngramError,
    ProtocolError,
    RowsNotHeld,
    StoreClosed,
    TableDamaged,
    TableNotFound,
    TimeLimitExceeded,
    Unavailable,
    VersionNotFound,
)

if TYPE_CHECKING:
    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.cluster.linked_node import NodePart
    from engram_client.cluster.linked_nodes import LinkedNodes
    from engram_client.table_info import TableInfo

_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 2.0  # for a newer map, which a node may have spoken of that nobody has
_OF_THE_NODE: Final = (Unavailable, TimeLimitExceeded, ProtocolError, StoreClosed)  # it is left out
_OF_ITS_ROWS: Final = (RowsNotHeld, TableNotFound, VersionNotFound, TableDamaged)  # others may have them


class Cluster(Protocol):
    """What a fetch needs of its transport."""

    nodes: LinkedNodes
    hedges: HedgeBudget
    settings: HedgeSettings
    is_closed: bool

    def split(self, table: TableInfo, rows: Int64Array, avoided: Collection[str]) -> list[NodePart]:
        """Divide rows by the newest map; raises VersionNotFound when it does not know the version."""
        ...

    async def look(self, timeout: float, at_least: int = 0) -> None:
        """Ask for a newer map, of that epoch if it is given."""
        ...


class ClusterFetch:
    """Gets the rows of one fetch into `out`, within `timeout` seconds."""

    def __init__(self, cluster: Cluster, table: TableInfo, out: Uint8Array, timeout: float) -> None:
        self._cluster = cluster
        self._table = table
        self._out = out
        self._timeout = timeout
        self._now = asyncio.get_running_loop().time
        self._deadline = self._now() + timeout
        self._rounds = 0
        self._failures: list[EngramError] = []  # of this round

    async def get(
        self, rows: Int64Array, places: Int64Array | None = None, avoided: frozenset[str] = frozenset()
    ) -> None:
        """Put `rows` (n,) into out[places]; nodes `avoided`, by their ids, have failed in this round."""
        while True:
            parts = self._cluster.split(self._table, rows, avoided)
            if any(part.node.id in avoided for part in parts):
                await self._wait_for_next_round()
                avoided = frozenset()
                continue
            # Counted before anything is waited for: fetches that begin at the same moment see each other's work.
            loads = [Load(part.node, self._work(part)) for part in parts]
            try:
                if len(parts) > 1:
                    await _all(
                        self._get_part(part, load, places, avoided) for part, load in zip(parts, loads, strict=True)
                    )
                    return
                failed = await self._race(parts[0], loads[0], places, avoided)
            finally:
                for load in loads:
                    load.end()
            if not failed:
                return
            avoided |= failed

    async def _get_part(self, part: NodePart, load: Load, outer: Int64Array | None, avoided: frozenset[str]) -> None:
        places = _within(outer, part.places)
        failed = await self._race(part, load, places, avoided)
        if failed:
            await self.get(part.rows, places, avoided | failed)

    async def _race(
        self, part: NodePart, load: Load, places: Int64Array | None, avoided: frozenset[str]
    ) -> frozenset[str]:
        """Ask the node of the part, and other replicas too if it does not answer as soon as is usual.

        Returns the nodes that failed, none if the rows have come. The first answer counts; when this ends, no other one
        writes any more.
        """
        self._cluster.hedges.count_request()
        avoided |= {part.node.id}
        hedged: list[NodePart] = []

        def hedge() -> Coroutine[Any, Any, None] | None:
            hedged.extend(self._replicas_for_hedge(part, avoided))
            return self._hedge(hedged, places) if hedged else None

        try:
            async with Overtaking(self._hedge_delay(part), hedge) as race:
                await self._ask(part, places)
            if race.has_overtaken:
                self._cluster.nodes.was_overtaken(part.node)
        except EngramError as error:
            await self._digest(error)
            return frozenset({part.node.id, *(each.node.id for each in hedged)})
        finally:
            load.end()
        return frozenset()

    async def _digest(self, error: EngramError) -> None:
        """Take note of a failure after which others may be asked; raises every other one."""
        left = self._deadline - self._now()
        if self._cluster.is_closed:
            raise StoreClosed("the store was closed during the fetch") from error
        if not isinstance(error, (*_OF_THE_NODE, *_OF_ITS_ROWS)):
            raise error
        self._failures.append(error)
        if left <= 0:
            raise self._given_up()
        if isinstance(error, RowsNotHeld):
            await self._cluster.look(min(left, _LOOK_SECONDS), at_least=error.epoch)
        elif isinstance(error, TableNotFound | VersionNotFound):
            await self._cluster.look(min(left, _LOOK_SECONDS))

    async def _hedge(self, parts: list[NodePart], places: Int64Array | None) -> None:
        loads = [Load(part.node, self._work(part)) for part in parts]
        try:
            await _all(self._ask(part, _within(places, part.places)) for part in parts)
        finally:
            for load in loads:
                load.end()

    async def _ask(self, part: NodePart, places: Int64Array | None) -> None:
        cluster, node, work, began = self._cluster, part.node, self._work(part), self._now()
        left = self._deadline - began
        if left <= 0:
            raise TimeLimitExceeded(f"no answer within {self._timeout:g} s")
        its_patience = patience(cluster.nodes.usual, work, cluster.settings) * 2**self._rounds
        node.last_asked = (self._table, part.rows)
        try:
            await node.link.fetch(self._table, part.rows, self._out, left, places=places, patience=its_patience)
        except asyncio.CancelledError:
            cluster.nodes.gave_up(node, self._now() - began, work)
            raise
        except _OF_THE_NODE:
            if not cluster.is_closed and self._now() < self._deadline:
                cluster.nodes.leave_out(node)
            raise
        cluster.nodes.answered(node, self._now() - began, work)

    def _work(self, part: NodePart) -> float:
        return units(len(part.rows) * self._table.row_bytes)

    def _hedge_delay(self, part: NodePart) -> float | None:
        delay = hedge_delay(self._cluster.nodes.usual, self._work(part), self._cluster.settings)
        return None if delay is None else delay * self._cluster.hedges.delay_factor

    def _replicas_for_hedge(self, part: NodePart, avoided: frozenset[str]) -> list[NodePart]:
        """Return how else the rows of a part can be had, if they can and the budget allows it."""
        try:
            parts = self._cluster.split(self._table, part.rows, avoided)
        except VersionNotFound:  # a newer map has come, without the version; who was asked may still have it
            return []
        if any(each.node.id in avoided or not each.node.health.ready for each in parts):
            return []
        return parts if self._cluster.hedges.take(len(parts)) else []

    async def _wait_for_next_round(self) -> None:
        """Every replica of some row has failed: look for a newer map, and begin again after a pause."""
        if self._failures and all(isinstance(failure, TableDamaged) for failure in self._failures):
            raise self._failures[-1]
        pause = min(_FIRST_PAUSE_SECONDS * 2**self._rounds, _LONGEST_PAUSE_SECONDS)
        left = self._deadline - self._now()
        if left <= pause:
            raise self._given_up()
        await asyncio.sleep(pause)
        await self._cluster.look(left - pause)
        self._rounds += 1
        del self._failures[:-1]

    def _given_up(self) -> EngramError:
        what = f"fetching from table {self._table.name!r}: gave up after {self._timeout:g} s"
        last = self._failures[-1] if self._failures else None
        kind = TimeLimitExceeded if isinstance(last, TimeLimitExceeded) else Unavailable
        return kind(f"{what}; the last failure was: {last}")


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    if any(task.cancelled() for task in tasks):  # by others than us, which is no failure to the group
        raise Unavailable("a part of the fetch was broken off")


def _within(outer: Int64Array | None, inner: Int64Array | None) -> Int64Array | None:
    """Return where the places `inner` of a part lie in the whole, if those of the part are `outer`."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    return outer[inner]

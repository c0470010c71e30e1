"""One fetch from many nodes: it is over when all its rows have come, from whichever replica."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from engram_client.cluster.asking import OF_THE_NODE, Asking, Cluster
from engram_client.cluster.avoided import NOT_THERE, Avoided
from engram_client.cluster.linked_node import Load
from engram_client.cluster.part_race import PartRace, all_of
from engram_client.cluster.shard_split import places_within
from engram_client.errors import (
    EngramError,
    RowsNotHeld,
    StoreClosed,
    TableDamaged,
    TimeLimitExceeded,
    Unavailable,
)

if TYPE_CHECKING:
    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.cluster.linked_node import NodePart
    from engram_client.table_info import TableInfo

_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.5
_MOST_DOUBLINGS: Final = 16  # of pauses and of patience: by then nothing ends them but the time limit
_LOOK_SECONDS: Final = 2.0  # for a newer map, which a node may have spoken of that nobody has
_OTHERS_MAY_DO: Final = (*OF_THE_NODE, *NOT_THERE, TableDamaged)
_NOBODY: Final = Avoided()


class ClusterFetch:
    """Gets the rows of one fetch into `out`, within `timeout` seconds."""

    def __init__(self, cluster: Cluster, table: TableInfo, out: Uint8Array, timeout: float) -> None:
        self._cluster = cluster
        self._asking = Asking(cluster, table, out, timeout)
        self._failures: list[EngramError] = []  # of this round

    async def get(self, rows: Int64Array, places: Int64Array | None = None, avoided: Avoided = _NOBODY) -> None:
        """Put `rows` (n,) into out[places]; those `avoided` have failed in this round."""
        while True:
            epoch = self._cluster.epoch
            out_of_question = avoided.in_epoch(epoch)
            parts = self._cluster.split(self._asking.table, rows, out_of_question)
            if any(part.node.id in out_of_question for part in parts):
                await self._wait_for_next_round()
                avoided = _NOBODY
                continue
            # Counted before anything is waited for: fetches that begin at the same moment see each other's work.
            loads = [Load(part.node, self._asking.work(part)) for part in parts]
            try:
                if len(parts) > 1:
                    await all_of(
                        self._get_part(part, load, places, avoided, epoch)
                        for part, load in zip(parts, loads, strict=True)
                    )
                    return
                failures = await self._race(parts[0], loads[0], places, out_of_question)
            finally:
                for load in loads:
                    load.end()
            if failures is None:
                return
            avoided = avoided.and_those(failures, epoch)

    async def _get_part(
        self, part: NodePart, load: Load, outer: Int64Array | None, avoided: Avoided, epoch: int
    ) -> None:
        """Get one part of several that were divided by the map of an epoch; what fails is divided anew, by itself."""
        places = places_within(outer, part.places)
        failures = await self._race(part, load, places, avoided.in_epoch(epoch))
        if failures is not None:
            await self.get(part.rows, places, avoided.and_those(failures, epoch))

    async def _race(
        self, part: NodePart, load: Load, places: Int64Array | None, avoided: frozenset[str]
    ) -> Mapping[str, EngramError] | None:
        """Return what the nodes failed with that were asked, None if the rows have come."""
        race = PartRace(self._asking, part, places, avoided)
        try:
            await race.run()
        except EngramError as error:
            failure = error
        else:
            return None
        finally:
            load.end()
        await self._digest(failure)
        return race.failures

    async def _digest(self, error: EngramError) -> None:
        """Take note of a failure after which others may be asked; raises every other one."""
        left = self._asking.left
        if self._cluster.is_closed:
            raise StoreClosed("the store was closed during the fetch") from error
        if not isinstance(error, _OTHERS_MAY_DO):
            raise error
        self._failures.append(error)
        if left <= 0:
            raise self._given_up()
        if isinstance(error, NOT_THERE):
            at_least = error.epoch if isinstance(error, RowsNotHeld) else 0
            await self._cluster.look(min(left, _LOOK_SECONDS), at_least)

    async def _wait_for_next_round(self) -> None:
        """Every replica of some row has failed: look for a newer map, and begin again after a pause."""
        if self._failures and all(isinstance(failure, TableDamaged) for failure in self._failures):
            raise self._failures[-1]
        pause = min(_FIRST_PAUSE_SECONDS * 2**self._asking.rounds, _LONGEST_PAUSE_SECONDS)
        left = self._asking.left
        if left <= pause:
            raise self._given_up()
        await asyncio.sleep(pause)
        await self._cluster.look(left - pause)
        self._asking.rounds = min(self._asking.rounds + 1, _MOST_DOUBLINGS)
        del self._failures[:-1]

    def _given_up(self) -> EngramError:
        what = f"fetching from table {self._asking.table.name!r}: gave up after {self._asking.timeout:g} s"
        last = self._failures[-1] if self._failures else None
        kind = TimeLimitExceeded if isinstance(last, TimeLimitExceeded) else Unavailable
        return kind(f"{what}; the last failure was: {last}")

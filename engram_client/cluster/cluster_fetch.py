"""One fetch from many nodes: it is over when all its rows have come, from whichever replica."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from engram_client.at_once import all_of
from engram_client.cluster.asking import OF_THIS_PROCESS, Asking, Cluster
from engram_client.cluster.avoided import NOT_THERE, Avoided
from engram_client.cluster.linked_node import Load
from engram_client.cluster.part_race import PartRace
from engram_client.cluster.shard_split import places_within
from engram_client.errors import (
    EngramError,
    Overloaded,
    ProtocolError,
    RowsNotHeld,
    StoreClosed,
    TimeLimitExceeded,
    Unavailable,
)
from engram_client.retry import overload_delay

if TYPE_CHECKING:
    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.cluster.linked_node import NodePart
    from engram_client.table_info import TableInfo

_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.5
_MOST_DOUBLINGS: Final = 16  # of pauses and of patience: by then nothing ends them but the time limit
_LOOK_SECONDS: Final = 2.0  # for a newer map, which a node may have spoken of that nobody has
_MAY_PASS: Final = (*NOT_THERE, Unavailable, TimeLimitExceeded, ProtocolError, StoreClosed)


@dataclass(frozen=True, slots=True)
class Tried:
    """What has become so far of some rows of a fetch. Those that are divided take it along, each part its own."""

    avoided: Avoided = field(default_factory=Avoided)
    failures: tuple[EngramError, ...] = ()
    """Of this round, in which each replica is asked once, and the last one before."""
    rounds: int = 0
    """How often every replica of some row has failed."""

    @property
    def last(self) -> EngramError | None:
        """The latest failure."""
        return self.failures[-1] if self.failures else None

    def failed(self, failure: EngramError, of_nodes: Mapping[str, EngramError], epoch: int) -> Tried:
        """Return this after a race that failed, with what nodes failed with that were chosen by the map of an epoch."""
        return replace(self, avoided=self.avoided.and_those(of_nodes, epoch), failures=(*self.failures, failure))

    def in_next_round(self) -> Tried:
        """Return this when all replicas are to be asked anew."""
        return Tried(failures=self.failures[-1:], rounds=min(self.rounds + 1, _MOST_DOUBLINGS))


_NOTHING: Final = Tried()


class ClusterFetch:
    """Gets the rows of one fetch into `out`, within `timeout` seconds."""

    def __init__(self, cluster: Cluster, table: TableInfo, out: Uint8Array, timeout: float) -> None:
        self._cluster = cluster
        self._asking = Asking(cluster, table, out, timeout)

    async def get(self, rows: Int64Array, places: Int64Array | None = None, tried: Tried = _NOTHING) -> None:
        """Put `rows` (n,) into out[places], for which others have been `tried`."""
        while True:
            epoch = self._cluster.epoch
            avoided = tried.avoided.in_epoch(epoch)
            try:
                parts = self._cluster.split(self._asking.table, rows, avoided)
            except Unavailable as error:  # by the newest map nobody has some of the rows; a newer one may come
                parts, tried = [], replace(tried, failures=(*tried.failures, error))
            if not parts or any(part.node.id in avoided for part in parts):
                tried = await self._next_round(tried)
                continue
            if tried.last is not None:
                self._cluster.retries.count(tried.last, len(parts))
            # Counted before anything is waited for: fetches that begin at the same moment see each other's work.
            loads = [Load(part.node, part.work) for part in parts]
            try:
                if len(parts) > 1:
                    await all_of(
                        self._get_part(part, load, places, tried, epoch)
                        for part, load in zip(parts, loads, strict=True)
                    )
                    return
                after = await self._race(parts[0], loads[0], places, tried, epoch)
            finally:
                for load in loads:
                    load.end()
            if after is None:
                return
            tried = after

    async def _get_part(self, part: NodePart, load: Load, outer: Int64Array | None, tried: Tried, epoch: int) -> None:
        """Get one part of several that were divided by the map of an epoch; what fails is divided anew, by itself."""
        places = places_within(outer, part.places)
        after = await self._race(part, load, places, tried, epoch)
        if after is not None:
            await self.get(part.rows, places, after)

    async def _race(
        self, part: NodePart, load: Load, places: Int64Array | None, tried: Tried, epoch: int
    ) -> Tried | None:
        """Return what has been tried by then if nobody who was asked had the rows, None if they have come."""
        race = PartRace(self._asking, part, places, tried.avoided.in_epoch(epoch), tried.rounds)
        try:
            await race.run()
        except EngramError as error:
            failure = error
        else:
            return None
        finally:
            load.end()
        after = tried.failed(failure, race.failures, epoch)
        await self._check_worth_going_on(after, failure)
        return after

    async def _check_worth_going_on(self, tried: Tried, failure: EngramError) -> None:
        """Return if others may be asked after a failure, by a newer map where that is called for; else raise."""
        left = self._asking.left
        if self._cluster.is_closed:
            raise StoreClosed("the store was closed during the fetch") from failure
        if isinstance(failure, OF_THIS_PROCESS):
            raise failure
        if left <= 0:
            raise self._given_up(tried) from failure
        if isinstance(failure, NOT_THERE):
            at_least = failure.epoch if isinstance(failure, RowsNotHeld) else 0
            await self._cluster.look(min(left, _LOOK_SECONDS), at_least)

    async def _next_round(self, tried: Tried) -> Tried:
        """Every replica of some row has failed: look for a newer map, and begin again after a pause; or raise."""
        if tried.last is not None and not any(isinstance(failure, _MAY_PASS) for failure in tried.failures):
            raise tried.last  # one replica may be wrong or damaged; what all say is so
        pause = min(_FIRST_PAUSE_SECONDS * 2**tried.rounds, _LONGEST_PAUSE_SECONDS)
        pause += overload_delay(tried.last, tried.rounds)
        left = self._asking.left
        if left <= pause:
            raise self._given_up(tried) from tried.last
        await asyncio.sleep(pause)
        await self._cluster.look(left - pause)
        return tried.in_next_round()

    def _given_up(self, tried: Tried) -> EngramError:
        what = f"fetching from table {self._asking.table.name!r}: gave up after {self._asking.timeout:g} s"
        if isinstance(tried.last, Overloaded):
            return Overloaded(f"{what}; {tried.last}", tried.last.retry_after)
        kind = TimeLimitExceeded if isinstance(tried.last, TimeLimitExceeded) else Unavailable
        return kind(f"{what}; the last failure was: {tried.last}")

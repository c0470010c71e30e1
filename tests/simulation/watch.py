"""What must always hold, looked at from outside: at the links, at the buffers and at what fetches return."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from simulation.agreed_map import AgreedMap, number_at
from simulation.content import first_wrong
from simulation.event_log import EventLog

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.cluster.hedging import HedgeSettings
from engram_client.errors import EngramError, StoreClosed, TimeLimitExceeded, Unavailable, VersionNotFound
from engram_client.table_info import TableInfo
from engram_store.shard_map import VersionKey

if TYPE_CHECKING:
    from simulation.links import SimulatedLink
    from simulation.nodes import SimulatedNode

AMPLE_SECONDS = 10.0
"""A time limit within which a fetch must succeed while each row has a replica that answers."""
TOLERANCE_SECONDS = 0.001
_PAUSE_SECONDS = 0.5
"""A fetch that is pausing when its client is closed, as nobody could answer it, ends after that pause."""
_POISON = 0xA5


@dataclass(slots=True, eq=False)
class Fetch:
    """One fetch of a user."""

    number: int
    table: TableInfo
    rows: NDArray[np.int64]
    out: NDArray[np.uint8]
    began: float
    timeout: float
    asked: NDArray[np.int16]  # how often each row is being asked for at the moment
    cancelled: float | None = None
    refused_by: set[int] = field(default_factory=set)  # nodes that did not give it rows
    given_up: "list[GivenUp]" = field(default_factory=list)

    @property
    def deadline(self) -> float:
        return self.began + self.timeout


@dataclass(slots=True, eq=False)
class GivenUp:
    """Rows that a node was not waited for any more, while nobody else was being asked for them."""

    link: "SimulatedLink"
    rows: NDArray[np.bool_]
    when: float


@dataclass(slots=True, eq=False)
class World:
    """What all see."""

    agreed: AgreedMap
    nodes: "list[SimulatedNode]"
    log: EventLog
    may_fail: bool
    violations: list[str] = field(default_factory=list)

    def violate(self, what: str) -> None:
        self.log.say(f"VIOLATED: {what}")
        self.violations.append(f"at {asyncio.get_running_loop().time():.6f} s: {what}")


class ClientWatch:
    """Sees to one client. `transport` is set once there is one."""

    transport: ClusterTransport

    def __init__(self, world: World, name: str, hedging: HedgeSettings) -> None:
        self.world = world
        self.name = name
        self.late_replies = 0
        self.requests = self.hedges = self.fetches = 0
        self.is_closing = False
        self.closed: float | None = None
        self.links: list[SimulatedLink] = []
        self.asked_nodes: set[int] = set()
        self._budget = hedging.budget
        self._now = asyncio.get_running_loop().time
        self._under_way: dict[int, Fetch] = {}
        self._ended: list[Fetch] = []
        self._epoch = 0

    # Fetches of users

    def begin(self, table: TableInfo, rows: NDArray[np.int64], timeout: float) -> Fetch:
        self.fetches += 1
        out = np.zeros((len(rows), table.row_bytes), np.uint8)
        fetch = Fetch(self.fetches, table, rows, out, self._now(), timeout, np.zeros(len(rows), np.int16))
        self._under_way[id(out)] = fetch
        self._say(fetch, f"begins: {len(rows)} rows of {table.version} of {table.name} within {timeout:g} s")
        return fetch

    def end(self, fetch: Fetch, error: BaseException | None) -> None:
        """Judge how a fetch ended, and poison its buffer: nobody may write into it any more."""
        self._say(fetch, f"ends: {'rows' if error is None else repr(error)}")
        del self._under_way[id(fetch.out)]
        self._check_time(fetch)
        if error is None:
            wrong = first_wrong(fetch.table.name, fetch.table.version, fetch.rows, fetch.out)
            if wrong is not None:
                self._violate(fetch, f"wrong row: {wrong}")
        else:
            self._check_failure(fetch, error)
        fetch.out[:] = _POISON
        self._ended.append(fetch)

    def check_buffers(self) -> None:
        """See that nothing was written into the buffers of fetches that had ended."""
        for fetch in self._ended:
            if (fetch.out != _POISON).any():
                self._violate(fetch, "its buffer was written to after it had ended")
        self._ended.clear()

    # What the links tell

    def fetch_into(self, out: NDArray[np.uint8]) -> Fetch | None:
        return self._under_way.get(id(out))

    def asked(
        self, fetch: Fetch, link: "SimulatedLink", rows: NDArray[np.int64], where: NDArray[np.int64] | slice
    ) -> None:
        self._say(fetch, f"asks n{link.node.number} for {len(rows)} rows")
        self.check_epoch()
        self.asked_nodes.add(link.node.number)
        if fetch.asked[where].any():
            self.hedges += 1
            if self.hedges > self._budget * self.requests + 1e-6:
                self._violate(fetch, f"{self.hedges} hedges to {self.requests} requests, above {self._budget:g}")
        else:
            self.requests += 1
        fetch.asked[where] += 1
        self._learn_of_silence(fetch, where)
        if link.first_failure is not None and self._now() > link.first_failure and self._had_choice(fetch, link, rows):
            self._violate(fetch, f"asks n{link.node.number}, of which it is known to be away, though others are ready")
        if self._now() > link.told_at and self._had_choice(fetch, link, rows, is_to_stay=True):
            self._violate(fetch, f"asks n{link.node.number}, which announced its stop, though others stay")

    def heard(self, fetch: Fetch, link: "SimulatedLink", where: NDArray[np.int64] | slice, outcome: str) -> None:
        fetch.asked[where] -= 1
        if outcome != "rows":
            fetch.refused_by.add(link.node.number)
        self._say(fetch, f"hears from n{link.node.number}: {outcome}")

    def gave_up(self, fetch: Fetch, link: "SimulatedLink", where: NDArray[np.int64] | slice) -> None:
        """Take note of a cancelled request that was not overtaken: its node was silent, or the fetch has ended."""
        if fetch.cancelled is None and not self.is_closing and (fetch.asked[where] == 1).all():
            rows = np.zeros(len(fetch.rows), np.bool_)
            rows[where] = True
            fetch.given_up.append(GivenUp(link, rows, self._now()))

    def _learn_of_silence(self, fetch: Fetch, where: NDArray[np.int64] | slice) -> None:
        """A fetch that asks at once again for what it gave up goes on: it was the silence that ended the request."""
        for each in fetch.given_up:
            if each.when == self._now() and each.rows[where].any():
                each.link.note_that_it_is_away(fetch)
        fetch.given_up = [each for each in fetch.given_up if each.when == self._now()]

    def check_epoch(self) -> None:
        epoch = self.transport.maps.newest.epoch
        if epoch < self._epoch:
            self.world.violate(f"{self.name} went from the map of epoch {self._epoch} back to that of {epoch}")
        self._epoch = epoch

    def _check_time(self, fetch: Fetch) -> None:
        limit = fetch.deadline if fetch.cancelled is None else min(fetch.deadline, fetch.cancelled)
        limit = limit if self.closed is None else min(limit, self.closed + _PAUSE_SECONDS)
        if self._now() > limit + TOLERANCE_SECONDS:
            self._violate(fetch, f"ended {self._now() - limit:.3f} s after its time limit, its cancellation or the end")

    def _can_learn(self) -> bool:
        """Tell whether two of the nodes that the client knows of answer with the map that they know."""
        known = [self.world.nodes[number_at(node.address)] for node in self.transport.maps.newest.nodes]
        return sum(node.is_good and node.hands_out is None for node in known) >= 2

    def _check_failure(self, fetch: Fetch, error: BaseException) -> None:
        key = VersionKey(fetch.table.name, fetch.table.version)
        if isinstance(error, asyncio.CancelledError):
            is_right = fetch.cancelled is not None
        elif isinstance(error, StoreClosed):
            is_right = self.is_closing
        elif isinstance(error, VersionNotFound):
            is_right = self.world.agreed.is_dropped(key)
        elif isinstance(error, TimeLimitExceeded | Unavailable):
            is_right = (
                self.world.may_fail
                or fetch.timeout < AMPLE_SECONDS
                or self.world.agreed.is_dropped(key)
                or not self._can_learn()
            )
        else:
            is_right = self.world.may_fail and isinstance(error, EngramError)
        if not is_right:
            self._violate(fetch, f"failed while each row had a replica that answers: {error!r}")

    def _had_choice(
        self, fetch: Fetch, link: "SimulatedLink", rows: NDArray[np.int64], *, is_to_stay: bool = False
    ) -> bool:
        """Tell whether, by the client's map, another node that it holds for ready and that serves it has each shard.

        Perhaps one of which it does not know either that it is about to stop, or that it lacks some of the version.
        """
        newest, key = self.transport.maps.newest, VersionKey(fetch.table.name, fetch.table.version)
        version = newest.versions.get(key)
        if version is None or self.world.may_fail:
            return False
        out_of_question = {link.node.number, *fetch.refused_by}
        for shard in self.world.agreed.ever[key].shards_of(rows):
            holders = {number_at(newest.nodes[place].address) for place in version.shards[shard].holders}
            others = {each for each in holders - out_of_question if self._is_ready(each)}
            if is_to_stay:
                others = {each for each in others if self._is_preferred(each, key)}
            if not any(self.world.nodes[other].serves(key, shard) for other in others):
                return False
        return True

    def _is_ready(self, number: int) -> bool:
        node = self.transport.nodes.at(f"node-{number}")
        return node is not None and node.health.ready

    def _is_preferred(self, number: int, key: VersionKey) -> bool:
        node = self.transport.nodes.at(f"node-{number}")
        if node is None or node.is_draining:
            return False
        return not node.refusals.include(key, self.transport.maps.newest.epoch, self._now())

    def _say(self, fetch: Fetch, what: str) -> None:
        self.world.log.say(f"{self.name} fetch {fetch.number} {what}")

    def _violate(self, fetch: Fetch, what: str) -> None:
        self.world.violate(f"{self.name} fetch {fetch.number}: {what}")

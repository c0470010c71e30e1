"""What one fetch asks of single nodes, and what the cluster's client learns of them by it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Final, Protocol

from engram_client.cluster.avoided import NOT_THERE
from engram_client.cluster.patience import WaitingPatiently, patience
from engram_client.errors import (
    EngramError,
    ForkedProcess,
    InvalidTableName,
    Overloaded,
    PermissionDenied,
    RequestTooLarge,
    RowOutOfRange,
    TableDamaged,
    TimeLimitExceeded,
    Unauthenticated,
    Unavailable,
    VersionNotFound,
    WrongLoop,
)
from engram_store.shard_map import VersionKey

if TYPE_CHECKING:
    from engram_client.arrays import Int64Array, Uint8Array
    from engram_client.cluster.hedging import HedgeBudget, HedgeSettings
    from engram_client.cluster.linked_node import LinkedNode, NodePart
    from engram_client.cluster.linked_nodes import LinkedNodes
    from engram_client.cluster.patience import PatienceBudget
    from engram_client.retry_counts import RetryCounts
    from engram_client.table_info import TableInfo

REFUSALS: Final = (
    *NOT_THERE,
    TableDamaged,
    RequestTooLarge,
    RowOutOfRange,
    InvalidTableName,
    Unauthenticated,
    PermissionDenied,
)
"""What a node says that answers and does not give these rows. After any other failure it is left out."""

OF_THIS_PROCESS: Final = (ForkedProcess, WrongLoop)
"""Failures of which no node is to blame."""

_NO_FAULT: Final = (*REFUSALS, *OF_THIS_PROCESS, Overloaded)
_ROUNDING: Final = 1 + 1e-6  # timers may be a trifle early


class Cluster(Protocol):
    """What a fetch needs of its transport."""

    nodes: LinkedNodes
    hedges: HedgeBudget
    patience: PatienceBudget
    retries: RetryCounts
    settings: HedgeSettings
    is_closed: bool

    @property
    def epoch(self) -> int:
        """Of the newest map."""
        ...

    def split(self, table: TableInfo, rows: Int64Array, avoided: Collection[str]) -> list[NodePart]:
        """Divide rows by the newest map; raises VersionNotFound when it does not know the version.

        Raises Unavailable when it knows nobody who holds some of the rows.
        """
        ...

    async def look(self, timeout: float, at_least: int = 0) -> None:
        """Ask for a newer map, of that epoch if it is given."""
        ...


class Asking:
    """Asks nodes for rows of `table`, which go into `out`, until `timeout` seconds from now."""

    def __init__(self, cluster: Cluster, table: TableInfo, out: Uint8Array, timeout: float) -> None:
        self.cluster = cluster
        self.table = table
        self.timeout = timeout
        self._version = VersionKey(table.name, table.version)
        self._out = out
        self._now = asyncio.get_running_loop().time
        self._deadline = self._now() + timeout

    @property
    def left(self) -> float:
        """Seconds until the time limit."""
        return self._deadline - self._now()

    def is_spare(self, node: LinkedNode) -> bool:
        """Tell whether a node may be asked for what need not be asked."""
        return node.is_free and not node.refusals.include(self._version, self.cluster.epoch, self._now())

    async def ask(
        self, part: NodePart, places: Int64Array | None, failures: dict[str, EngramError], rounds: int
    ) -> None:
        """Put the rows of a part into out[places]; a failure is raised, and noted under the id of the node too.

        After each of `rounds` in which every replica of some row has failed, nodes are given twice as long.
        """
        nodes, node, work, began = self.cluster.nodes, part.node, part.work, self._now()
        epoch = self.cluster.epoch
        node.will_be_asked(self.table, part.rows)
        try:
            await self._fetch(part, places, rounds)
        except asyncio.CancelledError:
            nodes.gave_up(node, self._now() - began, work)
            raise
        except EngramError as error:
            failures[node.id] = error
            if isinstance(error, REFUSALS):
                node.refusals.note(self._version, epoch, self._now())
            if not isinstance(error, _NO_FAULT) and not self.cluster.is_closed and self.left > 0:
                if isinstance(error, TimeLimitExceeded) and node.answered_at > began:
                    nodes.gave_up(node, self._now() - began, work)  # it is slow, and not away
                else:
                    nodes.leave_out(node)
            raise
        nodes.answered(node, self._now() - began, work)

    async def _fetch(self, part: NodePart, places: Int64Array | None, rounds: int) -> None:
        node, left = part.node, self.left
        if left <= 0:
            raise TimeLimitExceeded(f"no answer within {self.timeout:g} s")
        began, was_ready = self._now(), node.health.ready
        seconds, half = self._patience(part) * 2**rounds, self._half_of_time(part, left)

        def may_be_given_up() -> bool:
            # What was under way at a node when it fell silent is asked for elsewhere once: that cannot go on for long.
            if was_ready and not node.health.ready and node.answered_at <= began:
                return True
            gone = (self._now() - began) * _ROUNDING
            return (gone >= half and self._has_stand_in(part)) or (gone >= seconds and self.cluster.patience.take())

        try:
            async with WaitingPatiently(min(seconds, half), may_be_given_up):
                await node.link.fetch(self.table, part.rows, self._out, left, places=places)
        except TimeoutError as error:
            raise TimeLimitExceeded(f"no answer within {self._now() - began:g} s") from error

    def _patience(self, part: NodePart) -> float:
        nodes = self.cluster.nodes
        return patience(nodes.usual, part.work, nodes.usual_unit_seconds, self.cluster.settings)

    def _half_of_time(self, part: NodePart, left: float) -> float:
        """Return the seconds after which another node needs the rest; infinite where answers may well take so long."""
        nodes, work = self.cluster.nodes, part.work
        nearly_all = nodes.usual.quantile(work, self.cluster.settings.quantile)
        if nearly_all is None:  # the less is known the more is allowed for
            nearly_all = 2 * work * part.node.latency.seconds(nodes.usual_unit_seconds, self._now())
        return math.inf if nearly_all >= left / 2 else left / 2

    def _has_stand_in(self, part: NodePart) -> bool:
        """Tell whether another node has any of the rows."""
        try:
            parts = self.cluster.split(self.table, part.rows, {part.node.id})
        except (VersionNotFound, Unavailable):  # by a newer map it has nobody; who was asked may have it still
            return False
        return any(other.node is not part.node for other in parts)
